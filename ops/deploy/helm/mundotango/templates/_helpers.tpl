{{- define "mundotango.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters, as what is derived from it has up to 63. */}}
{{- define "mundotango.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "mundotango.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "mundotango.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "mundotango.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: mundotango
{{- end -}}

{{- define "mundotango.selector" -}}
app.kubernetes.io/name: {{ include "mundotango.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mundotango.nodeSelector" -}}
{{ include "mundotango.selector" . }}
app.kubernetes.io/component: node
{{- end -}}

{{- define "mundotango.migrationSelector" -}}
{{ include "mundotango.selector" . }}
app.kubernetes.io/component: migration
{{- end -}}

{{- define "mundotango.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "mundotango.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "mundotango.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* One variable from a Secret. */}}
{{- define "mundotango.secretVariable" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: { name: {{ .secret | quote }}, key: {{ .key | quote }} }
{{- end -}}

{{/* The certificates of one engine's connection. */}}
{{- define "mundotango.tlsVariables" -}}
{{- if .tls.existingSecret }}
- { name: MUNDOTANGO__CLUSTER__{{ .section }}__CA, value: /run/secrets/mundotango/{{ .folder }}/ca.crt }
{{- if .tls.clientCertificate }}
- { name: MUNDOTANGO__CLUSTER__{{ .section }}__CERTIFICATE, value: /run/secrets/mundotango/{{ .folder }}/tls.crt }
- { name: MUNDOTANGO__CLUSTER__{{ .section }}__KEY, value: /run/secrets/mundotango/{{ .folder }}/tls.key }
{{- end }}
{{- end }}
{{- end -}}

{{/* The configuration that nodes and migrations share. */}}
{{- define "mundotango.environment" -}}
- { name: MUNDOTANGO__LISTEN, value: "0.0.0.0:{{ .Values.http.port }}" }
- { name: MUNDOTANGO__DATA_DIR, value: /var/lib/mundotango }
- { name: MUNDOTANGO__HTTP__INTERNAL_LISTEN, value: "0.0.0.0:{{ .Values.http.internalPort }}" }
{{- with .Values.http.trustedProxies }}
- { name: MUNDOTANGO__HTTP__TRUSTED_PROXIES, value: {{ join "," . | quote }} }
{{- end }}
{{- with .Values.http.allowedOrigins }}
- { name: MUNDOTANGO__HTTP__ALLOWED_ORIGINS, value: {{ join "," . | quote }} }
{{- end }}
{{- with .Values.http.apiKey }}
{{- if .existingSecret }}
{{ include "mundotango.secretVariable" (dict "name" "MUNDOTANGO__HTTP__API_KEY" "secret" .existingSecret "key" .key) }}
{{- end }}
{{- end }}
{{ include "mundotango.secretVariable" (dict "name" "MUNDOTANGO__AUTH__SECRET" "secret" .Values.auth.existingSecret "key" .Values.auth.secretKey) }}
{{- range $engine := list "nats" "redis" }}
{{- $values := index $.Values $engine }}
{{- $name := printf "MUNDOTANGO__CLUSTER__%s" (upper $engine) }}
{{- if $values.existingSecret }}
{{ include "mundotango.secretVariable" (dict "name" $name "secret" $values.existingSecret "key" $values.urlKey) }}
{{- else }}
- { name: {{ $name }}, value: {{ $values.url | quote }} }
{{- end }}
{{- include "mundotango.tlsVariables" (dict "tls" $values.tls "section" (printf "%s_TLS" (upper $engine)) "folder" $engine) }}
{{- end }}
{{- with .Values.nats.credentials }}
{{- if .existingSecret }}
- { name: MUNDOTANGO__CLUSTER__NATS_CREDENTIALS, value: /run/secrets/mundotango/nats-credentials/nats.creds }
{{- end }}
{{- end }}
{{- with .Values.cql }}
- { name: MUNDOTANGO__CLUSTER__CQL__NODES, value: {{ join "," .nodes | quote }} }
- { name: MUNDOTANGO__CLUSTER__CQL__KEYSPACE, value: {{ .keyspace | quote }} }
- { name: MUNDOTANGO__CLUSTER__CQL__REPLICATION_FACTOR, value: {{ .replicationFactor | quote }} }
{{- with .datacenter }}
- { name: MUNDOTANGO__CLUSTER__CQL__DATACENTER, value: {{ . | quote }} }
{{- end }}
{{- with .keyspaceOptions }}
- { name: MUNDOTANGO__CLUSTER__CQL__KEYSPACE_OPTIONS, value: {{ . | quote }} }
{{- end }}
{{- if .existingSecret }}
{{ include "mundotango.secretVariable" (dict "name" "MUNDOTANGO__CLUSTER__CQL__USER" "secret" .existingSecret "key" .userKey) }}
{{ include "mundotango.secretVariable" (dict "name" "MUNDOTANGO__CLUSTER__CQL__PASSWORD" "secret" .existingSecret "key" .passwordKey) }}
{{- end }}
{{- include "mundotango.tlsVariables" (dict "tls" .tls "section" "CQL__TLS" "folder" "cql") }}
{{- end }}
# Migrations are the Job's alone; nodes wait until the tables are there.
- { name: MUNDOTANGO__CLUSTER__CQL__MIGRATE, value: "false" }
- { name: MUNDOTANGO__DRAIN__WINDOW, value: "{{ int .Values.drain.windowSeconds }}s" }
- { name: MUNDOTANGO__DRAIN__DEADLINE, value: "{{ int .Values.drain.deadlineSeconds }}s" }
{{- with .Values.mail }}
- { name: MUNDOTANGO__MAIL__TRANSPORT, value: {{ .transport }} }
{{- with .from }}
- { name: MUNDOTANGO__MAIL__FROM, value: {{ . | quote }} }
{{- end }}
{{- with .publicUrl }}
- { name: MUNDOTANGO__MAIL__PUBLIC_URL, value: {{ . | quote }} }
{{- end }}
{{- if eq .transport "smtp" }}
- { name: MUNDOTANGO__MAIL__SMTP__HOST, value: {{ .smtp.host | quote }} }
- { name: MUNDOTANGO__MAIL__SMTP__PORT, value: {{ .smtp.port | quote }} }
- { name: MUNDOTANGO__MAIL__SMTP__TLS, value: {{ .smtp.tls }} }
{{- if .smtp.existingSecret }}
{{ include "mundotango.secretVariable" (dict "name" "MUNDOTANGO__MAIL__SMTP__USER" "secret" .smtp.existingSecret "key" .smtp.userKey) }}
{{ include "mundotango.secretVariable" (dict "name" "MUNDOTANGO__MAIL__SMTP__PASSWORD" "secret" .smtp.existingSecret "key" .smtp.passwordKey) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.payments }}
{{- if .existingSecret }}
{{ include "mundotango.secretVariable" (dict "name" "MUNDOTANGO__PAYMENTS__SECRET_KEY" "secret" .existingSecret "key" .keyKey) }}
{{ include "mundotango.secretVariable" (dict "name" "MUNDOTANGO__PAYMENTS__WEBHOOK_SECRETS" "secret" .existingSecret "key" .webhookKey) }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where the configuration and the engines' certificates are; the name of the ConfigMap is given. */}}
{{- define "mundotango.mounts" -}}
- { name: config, mountPath: /etc/mundotango, readOnly: true }
- { name: data, mountPath: /var/lib/mundotango }
- { name: tmp, mountPath: /tmp }
{{- range $engine := list "nats" "redis" "cql" }}
{{- if (index $.Values $engine).tls.existingSecret }}
- { name: {{ $engine }}-tls, mountPath: /run/secrets/mundotango/{{ $engine }}, readOnly: true }
{{- end }}
{{- end }}
{{- if .Values.nats.credentials.existingSecret }}
- { name: nats-credentials, mountPath: /run/secrets/mundotango/nats-credentials, readOnly: true }
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mundotango.volumes" -}}
{{- $ := .root -}}
- name: config
  configMap: { name: {{ .configMap }} }
# The file by which commands in the pod find the node, and letters that are not sent (mail.transport: folder).
- name: data
  emptyDir: { sizeLimit: 64Mi }
- name: tmp
  emptyDir: { sizeLimit: 64Mi }
{{- range $engine := list "nats" "redis" "cql" }}
{{- with (index $.Values $engine).tls.existingSecret }}
- name: {{ $engine }}-tls
  secret: { secretName: {{ . | quote }}, defaultMode: 0440 }
{{- end }}
{{- end }}
{{- with $.Values.nats.credentials }}
{{- if .existingSecret }}
- name: nats-credentials
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: 0440
    items: [{ key: {{ .key | quote }}, path: nats.creds }]
{{- end }}
{{- end }}
{{- with $.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

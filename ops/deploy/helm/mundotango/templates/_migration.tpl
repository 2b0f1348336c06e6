{{/* What a Job of the tables does: `command` is what mundotango is told, `configMap` where its text is. */}}
{{- define "mundotango.migrationSpec" -}}
{{- $ := .root -}}
backoffLimit: {{ $.Values.migration.backoffLimit }}
activeDeadlineSeconds: {{ $.Values.migration.deadlineSeconds }}
template:
  metadata:
    labels:
      {{- include "mundotango.migrationSelector" $ | nindent 6 }}
  spec:
    # The namespace's own account, as the chart's may not be there before an upgrade.
    automountServiceAccountToken: false
    enableServiceLinks: false
    restartPolicy: Never
    securityContext:
      {{- include "mundotango.podSecurity" $ | nindent 6 }}
    {{- with $.Values.imagePullSecrets }}
    imagePullSecrets:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    containers:
      - name: migrate
        image: {{ include "mundotango.image" $ | quote }}
        imagePullPolicy: {{ $.Values.image.pullPolicy }}
        args: [{{ .command }}, --config, /etc/mundotango/mundotango.toml]
        env:
          {{- include "mundotango.environment" $ | nindent 10 }}
        securityContext:
          {{- include "mundotango.containerSecurity" $ | nindent 10 }}
        resources:
          {{- toYaml $.Values.migration.resources | nindent 10 }}
        volumeMounts:
          {{- include "mundotango.mounts" $ | nindent 10 }}
    volumes:
      {{- include "mundotango.volumes" (dict "root" $ "configMap" .configMap) | nindent 6 }}
    {{- with $.Values.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $.Values.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end -}}

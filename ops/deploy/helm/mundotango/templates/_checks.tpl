{{/* What cannot work is refused before anything is touched, each with the value's name. */}}
{{- define "mundotango.check" -}}
{{- $v := .Values -}}
{{- if not $v.auth.existingSecret -}}
{{- fail "auth.existingSecret: name a Secret with the secret that signs tokens" -}}
{{- end -}}
{{- range $engine := list "nats" "redis" -}}
{{- $values := index $v $engine -}}
{{- if not (or $values.url $values.existingSecret) -}}
{{- fail (printf "%s.url: say where %s is, or name a Secret with the URL in %s.existingSecret" $engine $engine $engine) -}}
{{- end -}}
{{- if and $values.url $values.existingSecret -}}
{{- fail (printf "%s.url: give it or %s.existingSecret, not both" $engine $engine) -}}
{{- end -}}
{{- if contains "@" $values.url -}}
{{- fail (printf "%s.url: has a password, which everybody who may read the Deployment would see; put it into %s.existingSecret" $engine $engine) -}}
{{- end -}}
{{- if and $values.tls.clientCertificate (not $values.tls.existingSecret) -}}
{{- fail (printf "%s.tls.clientCertificate: needs %s.tls.existingSecret" $engine $engine) -}}
{{- end -}}
{{- end -}}
{{- if not $v.cql.nodes -}}
{{- fail "cql.nodes: name some of the servers, as host:port" -}}
{{- end -}}
{{- if and $v.cql.tls.clientCertificate (not $v.cql.tls.existingSecret) -}}
{{- fail "cql.tls.clientCertificate: needs cql.tls.existingSecret" -}}
{{- end -}}
{{- if eq $v.image.tag "latest" -}}
{{- fail "image.tag: latest is no version that one could go back to" -}}
{{- end -}}
{{- if eq (int $v.http.port) (int $v.http.internalPort) -}}
{{- fail "http.internalPort: must not be http.port" -}}
{{- end -}}
{{- if and (eq $v.mail.transport "smtp") (not $v.mail.smtp.host) -}}
{{- fail "mail.smtp.host: is missing" -}}
{{- end -}}
{{- if and (ne $v.mail.transport "folder") (not (and $v.mail.from $v.mail.publicUrl)) -}}
{{- fail "mail.from, mail.publicUrl: letters need a sender and links an address" -}}
{{- end -}}
{{- if and $v.payments.existingSecret $v.networkPolicy.enabled (not (or $v.networkPolicy.https.enabled $v.networkPolicy.extraEgress)) -}}
{{- fail "networkPolicy.https.enabled: Stripe is out there; without it no payment begins and no money goes back" -}}
{{- end -}}
{{- if and $v.payments.existingSecret (not $v.mail.publicUrl) -}}
{{- fail "mail.publicUrl: payers come back to a page below it" -}}
{{- end -}}
{{- if $v.ingress.enabled -}}
{{- if not $v.ingress.host -}}
{{- fail "ingress.host: is missing" -}}
{{- end -}}
{{- if not $v.http.trustedProxies -}}
{{- fail "http.trustedProxies: behind an Ingress name the networks of its controllers, or all clients have the controllers' addresses and share their limits" -}}
{{- end -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.maxReplicas: must not be below autoscaling.minReplicas" -}}
{{- end -}}
{{- $nodes := int (ternary $v.autoscaling.minReplicas $v.replicas $v.autoscaling.enabled) -}}
{{- if and $v.podDisruptionBudget.enabled (gt $nodes 1) (ge (int $v.podDisruptionBudget.maxUnavailable) $nodes) -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable: would let all %d nodes go at once" $nodes) -}}
{{- end -}}
{{- range $v.extraEnv -}}
{{- if regexMatch "^MUNDOTANGO__(LISTEN|DATA_DIR|HTTP__INTERNAL_LISTEN|DRAIN__.*|CLUSTER__CQL__MIGRATE)$" .name -}}
{{- fail (printf "extraEnv: %s is set by the chart, whose arithmetic rests on it; see http and drain" .name) -}}
{{- end -}}
{{- end -}}
{{- include "mundotango.checkDrain" . -}}
{{- end -}}

{{/* The most that a node needs to leave. The node itself gives up after twice its deadline. */}}
{{- define "mundotango.leaveSeconds" -}}
{{- with .Values.drain -}}
{{- add (int .preStopSeconds) (mul 2 (int .deadlineSeconds)) (int .flushSeconds) (int .marginSeconds) -}}
{{- end -}}
{{- end -}}

{{- define "mundotango.checkDrain" -}}
{{- $drain := .Values.drain -}}
{{- if ge (int $drain.windowSeconds) (int $drain.deadlineSeconds) -}}
{{- fail (printf "drain.windowSeconds: %d must be shorter than drain.deadlineSeconds, %d" (int $drain.windowSeconds) (int $drain.deadlineSeconds)) -}}
{{- end -}}
{{- $leave := int (include "mundotango.leaveSeconds" .) -}}
{{- $grace := int .Values.terminationGracePeriodSeconds -}}
{{- if ge $leave $grace -}}
{{- fail (printf "terminationGracePeriodSeconds: %d is too short: preStop %d + 2 x deadline %d + flush %d + margin %d = %d; a node would be killed while it drains" $grace (int $drain.preStopSeconds) (int $drain.deadlineSeconds) (int $drain.flushSeconds) (int $drain.marginSeconds) $leave) -}}
{{- end -}}
{{- if lt (int .Values.minReadySeconds) (add (int $drain.preStopSeconds) (int $drain.windowSeconds) | int) -}}
{{- fail (printf "minReadySeconds: %d is shorter than drain.preStopSeconds + drain.windowSeconds, %d: two nodes would send their clients away at the same time" (int .Values.minReadySeconds) (add (int $drain.preStopSeconds) (int $drain.windowSeconds) | int)) -}}
{{- end -}}
{{- end -}}

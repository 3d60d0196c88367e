{{/*
The chain of time: webhook > Provider (whole seconds) > the provider's own deadline. A provider that may answer after
the webhook has given up is one that admits or denies by the webhook's failure policy instead of by its verdict.
*/}}
{{- define "ratify.providerTimeout" -}}
{{- sub (int .webhook) 1 -}}
{{- end -}}

{{/* 200 ms for the answer to be written, sent and read. */}}
{{- define "ratify.deadline" -}}
{{- printf "%dms" (sub (mul (sub (int .webhook) 1) 1000) 200) -}}
{{- end -}}

{{- define "ratify.checkTimeouts" -}}
{{- $g := .Values.gatekeeper -}}
{{- if lt (int $g.validatingWebhookTimeoutSeconds) 2 -}}
{{- fail "gatekeeper.validatingWebhookTimeoutSeconds: 1 leaves no whole second for the Provider. Set validatingWebhookTimeoutSeconds to 2 or more (5 is recommended) in Gatekeeper, and gatekeeper.validatingWebhookTimeoutSeconds to the same here." -}}
{{- end -}}
{{- if and .Values.mutation.enabled (lt (int $g.mutatingWebhookTimeoutSeconds) 2) -}}
{{- fail "gatekeeper.mutatingWebhookTimeoutSeconds: 1 leaves no whole second for the Provider. Set mutatingWebhookTimeoutSeconds to 2 or more in Gatekeeper, and gatekeeper.mutatingWebhookTimeoutSeconds to the same here; or set mutation.enabled to false." -}}
{{- end -}}
{{- end -}}

{{- define "ratify.checkClientCA" -}}
{{- $namespace := include "ratify.gatekeeperNamespace" . -}}
{{- $ca := .Values.gatekeeper.clientCA -}}
{{- if and (not $ca) (ne $namespace .Release.Namespace) -}}
{{- fail (printf "gatekeeper.clientCA: the release is in namespace %q and Gatekeeper in %q, whose Secret cannot be mounted here. Install into %q, or pass its CA:\n  kubectl -n %s get secret %s -o jsonpath='{.data.ca\\.crt}' | base64 -d > gatekeeper-ca.crt\n  helm … --set-file gatekeeper.clientCA=gatekeeper-ca.crt" .Release.Namespace $namespace $namespace $namespace .Values.gatekeeper.certSecret) -}}
{{- end -}}
{{- include "ratify.checkPEM" (dict "value" "gatekeeper.clientCA" "text" $ca) -}}
{{- end -}}

{{/* What goes where everybody may read must be certificates and nothing else. */}}
{{- define "ratify.checkPEM" -}}
{{- if .text -}}
{{- if contains "PRIVATE KEY-----" .text -}}
{{- fail (printf "%s: holds a private key. Pass the certificate alone." .value) -}}
{{- end -}}
{{- if not (contains "-----BEGIN CERTIFICATE-----" .text) -}}
{{- fail (printf "%s: is not a certificate in PEM. If the file is DER, convert it: openssl x509 -inform der -in FILE -out FILE.crt" .value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ratify.checkReplicas" -}}
{{- if and (eq (int .Values.replicas) 0) (not .Values.provider.url) -}}
{{- fail "replicas: 0 runs no provider in the cluster, so provider.url must say where it is." -}}
{{- end -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int .Values.shutdownDelaySeconds) -}}
{{- fail (printf "terminationGracePeriodSeconds: must be more than shutdownDelaySeconds (%d), or a pod is killed in the middle of an answer." (int .Values.shutdownDelaySeconds)) -}}
{{- end -}}
{{- end -}}

{{- define "ratify.checks" -}}
{{- include "ratify.checkTimeouts" . -}}
{{- include "ratify.checkClientCA" . -}}
{{- include "ratify.checkReplicas" . -}}
{{- end -}}

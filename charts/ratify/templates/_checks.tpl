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
{{- end -}}

{{/*
What a pod takes to end: the delay, the longest deadline, and 5 s to write the last answers. A deadline is a whole second less 200 ms,
so that rounded up it is the Provider's timeout.
*/}}
{{- define "ratify.checkGracePeriod" -}}
{{- $webhook := int .Values.gatekeeper.validatingWebhookTimeoutSeconds -}}
{{- if .Values.mutation.enabled }}{{ $webhook = max $webhook (int .Values.gatekeeper.mutatingWebhookTimeoutSeconds) }}{{ end -}}
{{- $deadline := include "ratify.providerTimeout" (dict "webhook" $webhook) | int -}}
{{- $needed := add (int .Values.shutdownDelaySeconds) $deadline 5 -}}
{{- if and (gt (int .Values.replicas) 0) (lt (int64 .Values.terminationGracePeriodSeconds) $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds: must be %d or more, or a pod is killed in the middle of an answer: shutdownDelaySeconds (%d), the longest deadline (%d) and 5 to write answers." $needed (int .Values.shutdownDelaySeconds) $deadline) -}}
{{- end -}}
{{- end -}}

{{/*
Not kubeVersion in Chart.yaml: without a cluster, a helm that was built without Kubernetes' version (go install) takes v1.20.0 for it,
and would refuse to render. No cluster that is to be served is of exactly that version.
*/}}
{{- define "ratify.checkKubernetes" -}}
{{- $version := .Capabilities.KubeVersion.Version -}}
{{- if and (ne $version "v1.20.0") (semverCompare "<1.28.0-0" $version) -}}
{{- fail (printf "Kubernetes 1.28 or newer is needed, and this is %s. If no cluster was asked, tell helm the version of yours: --kube-version." $version) -}}
{{- end -}}
{{- end -}}

{{- define "ratify.checkHosts" -}}
{{- $place := .place -}}
{{- $hosts := dict "host" .entry.host -}}
{{- range $field := list "authHosts" "redirectHosts" -}}
{{- range $i, $host := get $.entry $field | default list }}{{ $_ := set $hosts (printf "%s[%d]" $field $i) $host }}{{ end -}}
{{- end -}}
{{- range $field, $host := $hosts -}}
{{- if regexMatch "[/@]" $host -}}
{{- fail (printf "%s.%s: is no host: leave out scheme, path and user." $place $field) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What policies ask must be there, given the whole configuration. */}}
{{- define "ratify.checkVerifierNames" -}}
{{- $names := list -}}
{{- range .verifiers }}{{ $names = append $names .name }}{{ end -}}
{{- range $i, $policy := .policies -}}
{{- range $name := $policy.verifiers -}}
{{- if not (has $name $names) -}}
{{- fail (printf "policies[%d] %q: there is no verifier %q; there is %s." $i $policy.name $name (join ", " $names | default "none")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
What statements of a trust policy name and what is given must be the same: the provider refuses to start otherwise. It also refuses
a trust store of type tsa without one of type ca, for timestamps are of that scheme alone.
*/}}
{{- define "ratify.checkTrustStores" -}}
{{- $given := .given -}}
{{- $named := list -}}
{{- range $statement := .policy.trustPolicies -}}
{{- $stores := $statement.trustStores | default list -}}
{{- range $store := $stores -}}
{{- if not (hasKey $given $store) -}}
{{- fail (printf "notation.trustPolicy: statement %q names trust store %q, which no value gives; there is %s. Add it to notation.trustStores." ($statement.name | default "") $store (keys $given | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- $text := join " " $stores -}}
{{- if and (contains "tsa:" $text) (not (regexMatch "(^| )ca:" $text)) -}}
{{- fail (printf "notation: statement %q of the trust policy has a trust store of type tsa, which has no effect without one of type ca." ($statement.name | default "")) -}}
{{- end -}}
{{- $named = concat $named $stores -}}
{{- end -}}
{{- range $key, $store := $given -}}
{{- if not (has $key $named) -}}
{{- fail (printf "notation.trustPolicy: no statement names trust store %q, which %s. Name it, or take it away." $key $store.from) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ratify.checks" -}}
{{- include "ratify.checkKubernetes" . -}}
{{- include "ratify.checkTimeouts" . -}}
{{- include "ratify.checkClientCA" . -}}
{{- include "ratify.checkReplicas" . -}}
{{- include "ratify.checkGracePeriod" . -}}
{{- end -}}

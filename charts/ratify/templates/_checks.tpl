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

{{/* What a key of .Values.config replaces must not be written as another value, too: that would have no effect. */}}
{{- define "ratify.checkReplaced" -}}
{{- $v := .Values -}}
{{- $written := dict "stores" (dict "registries" $v.registries) "policies" (dict "policies" $v.policies) "exemptions" (dict "exemptions" $v.exemptions) -}}
{{- $_ := set $written "mirrors" (dict "mirrors" $v.mirrors) -}}
{{- $_ := set $written "tenancy" (dict "tenancy.enabled" $v.tenancy.enabled "tenancy.delegate" $v.tenancy.delegate) -}}
{{- $_ := set $written "verifiers" (dict "notation.trustPolicy" $v.notation.trustPolicy "cosign.keys" $v.cosign.keys "cosign.identities" $v.cosign.identities "verifiers" $v.verifiers) -}}
{{- range $key, $_ := $v.config -}}
{{- range $name, $value := get $written $key | default dict -}}
{{- if $value }}{{ fail (printf "config.%s: replaces what %s says; set one or the other." $key $name) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The names in a tree of require, one a line. */}}
{{- define "ratify.treeNames" -}}
{{- if kindIs "string" . }}{{ . }}{{ "\n" }}{{ end -}}
{{- if kindIs "map" . -}}
{{- range concat (.all | default list) (.any | default list) (.of | default list) }}{{ include "ratify.treeNames" . }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* What policies and signedBy ask must be there, and what is there must be asked, given the whole configuration. */}}
{{- define "ratify.checkVerifierNames" -}}
{{- $names := list -}}
{{- $used := list -}}
{{- range .verifiers }}{{ $names = append $names .name }}{{ $used = concat $used (.signedBy | default list) }}{{ end -}}
{{- range $verifier := .verifiers -}}
{{- range $verifier.signedBy -}}
{{- if not (has . $names) -}}
{{- fail (printf "verifiers: %q: signedBy: there is no verifier %q; there is %s." $verifier.name . (join ", " $names)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $i, $policy := .policies -}}
{{- $asked := $policy.verifiers | default list -}}
{{- if kindIs "map" $policy.require }}{{ $asked = concat $asked (include "ratify.treeNames" $policy.require | trim | splitList "\n") }}{{ end -}}
{{- range $name := $asked -}}
{{- if not (has $name $names) -}}
{{- fail (printf "policies[%d] %q: there is no verifier %q; there is %s." $i $policy.name $name (join ", " $names | default "none")) -}}
{{- end -}}
{{- end -}}
{{- $used = concat $used $asked -}}
{{- end -}}
{{- range $name := $names -}}
{{- if not (has $name $used) -}}
{{- fail (printf "policies: no policy asks the verifier %q. Name it in one (verifiers, or require), or take away the values that make it." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ratify.checkPolicies" -}}
{{- $tenancy := dig "tenancy" "enabled" false . -}}
{{- range $i, $policy := .policies -}}
{{- $tree := kindIs "map" $policy.require -}}
{{- if and $tree $policy.verifiers -}}
{{- fail (printf "policies[%d] %q: verifiers has no effect beside a tree in require, which names them." $i $policy.name) -}}
{{- end -}}
{{- if not (or $tree $policy.verifiers) -}}
{{- fail (printf "policies[%d] %q: says nothing of what must verify: write verifiers, or a tree of them in require." $i $policy.name) -}}
{{- end -}}
{{- if and $policy.namespaces (not $tenancy) -}}
{{- fail (printf "policies[%d] %q: namespaces has no effect without tenancy.enabled." $i $policy.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* As the provider has it, told before it would not start. */}}
{{- define "ratify.checkCosign" -}}
{{- $c := .Values.cosign -}}
{{- range $i, $entry := $c.keys -}}
{{- if contains "PRIVATE KEY-----" $entry.key -}}
{{- fail (printf "cosign.keys[%d].key: holds a private key. Pass the public one, which cosign public-key writes." $i) -}}
{{- end -}}
{{- if not (contains "-----BEGIN PUBLIC KEY-----" $entry.key) -}}
{{- fail (printf "cosign.keys[%d].key: is not a public key in PEM (BEGIN PUBLIC KEY)." $i) -}}
{{- end -}}
{{- end -}}
{{- range $i, $entry := $c.identities -}}
{{- range $pattern := list $entry.issuerPattern $entry.subjectPattern -}}
{{- if and $pattern (not (regexMatch `^\^.*\$$` $pattern)) -}}
{{- fail (printf "cosign.identities[%d]: %q would match a part of a name; patterns are for the whole of it, ^(…)$." $i $pattern) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $c.trustedRoot (not (hasKey (fromJson $c.trustedRoot) "mediaType")) -}}
{{- fail "cosign.trustedRoot: is not a trusted_root.json: JSON with a mediaType." -}}
{{- end -}}
{{- $asked := false -}}
{{- range $_, $count := $c.thresholds }}{{ if $count }}{{ $asked = true }}{{ end }}{{ end -}}
{{- if and (or $c.identities $asked) (not $c.trustedRoot) -}}
{{- fail "cosign.trustedRoot: identities and thresholds need it: --set-file cosign.trustedRoot=./trusted_root.json, of the Sigstore instance whose certificates and logs are trusted." -}}
{{- end -}}
{{- if and $c.trustedRoot (not (or $c.identities $asked)) -}}
{{- fail "cosign.trustedRoot: has no effect without cosign.identities or cosign.thresholds." -}}
{{- end -}}
{{- if and $c.thresholds (not (or $c.keys $c.identities)) -}}
{{- fail "cosign.thresholds: has no effect without cosign.keys or cosign.identities." -}}
{{- end -}}
{{- end -}}

{{- define "ratify.checkTenancy" -}}
{{- $t := .Values.tenancy -}}
{{- $pull := $t.pullSecrets.namespaces -}}
{{- $others := dict "tenantsConfigMap" $t.tenantsConfigMap "delegate" $t.delegate "registryCredentialsFor" $t.registryCredentialsFor "pullSecrets.namespaces" $pull -}}
{{- if not (or $t.enabled (dig "tenancy" "enabled" false .Values.config)) -}}
{{- range $name, $value := $others -}}
{{- if $value }}{{ fail (printf "tenancy.%s: has no effect without tenancy.enabled." $name) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and $t.delegate (not $t.tenantsConfigMap) -}}
{{- fail "tenancy.delegate: has no effect without tenancy.tenantsConfigMap." -}}
{{- end -}}
{{- if and $t.tenantsConfigMap (not $t.delegate) (not (hasKey .Values.config "tenancy")) -}}
{{- fail "tenancy.tenantsConfigMap: its files can have no policy as long as tenancy.delegate names no repositories." -}}
{{- end -}}
{{- if and $t.registryCredentialsFor (not .Values.registryCredentialsSecret) -}}
{{- fail "tenancy.registryCredentialsFor: has no effect without registryCredentialsSecret." -}}
{{- end -}}
{{- $seen := list -}}
{{- range $i, $entry := $pull -}}
{{- if has $entry.name $seen }}{{ fail (printf "tenancy.pullSecrets.namespaces[%d]: %s is there twice." $i $entry.name) }}{{ end -}}
{{- $seen = append $seen $entry.name -}}
{{- end -}}
{{- if and $pull (eq (int .Values.replicas) 0) -}}
{{- fail "tenancy.pullSecrets: a provider outside the cluster has no ServiceAccount. Write credentials with pullSecrets, apiServer, tokenFile and caFile in registries." -}}
{{- end -}}
{{- if and $pull (eq (include "ratify.serviceAccountName" .) "default") -}}
{{- fail "serviceAccount: tenancy.pullSecrets would give its rights to every pod of this namespace that runs under the ServiceAccount default. Set serviceAccount.create, or name one." -}}
{{- end -}}
{{- end -}}

{{/* Pull secrets are read with a token, which the pod has only where the chart knows of them. */}}
{{- define "ratify.checkPullSecrets" -}}
{{- $granted := .root.Values.tenancy.pullSecrets.namespaces -}}
{{- range .file.stores -}}
{{- range $i, $registry := dig "settings" "registries" list . -}}
{{- $sources := $registry.credentials | default list -}}
{{- if kindIs "map" $sources }}{{ $sources = list $sources }}{{ end -}}
{{- range $sources -}}
{{- if and (hasKey . "pullSecrets") (not $granted) (not (dig "pullSecrets" "tokenFile" "" .)) -}}
{{- fail (printf "registries[%d].credentials: pullSecrets needs a token and the right to read them: list the namespaces in tenancy.pullSecrets.namespaces instead, or name a tokenFile." $i) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a ConfigMap must not hold. Variables of a helper are judged by their names. */}}
{{- define "ratify.checkSecrets" -}}
{{- $secret := or (regexMatch `(?m)^[ -]*(password|identityToken):` .text) (regexMatch `(?m)^[ -]*proxy: ["']?https?://[^/]*@` .text) -}}
{{- $variable := regexMatch `(?mi)^ *- name: .*(secret|token|passw|key).*\n +value: ` .text -}}
{{- if or $secret $variable -}}
{{- fail "configKind: the configuration contains a password, which a ConfigMap does not keep. Set configKind to Secret, or keep the password in a file (registryCredentialsSecret, or credentials.passwordFile with extraVolumes)." -}}
{{- end -}}
{{- range $name, $content := .files -}}
{{- if regexMatch `PRIVATE KEY-----|"auths"` $content -}}
{{- fail (printf "configKind: files.%s holds a private key or credentials, which a ConfigMap does not keep. Set configKind to Secret." $name) -}}
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

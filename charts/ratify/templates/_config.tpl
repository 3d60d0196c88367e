{{/*
The configuration file. Every key of .Values.config replaces the one made from the other values, whole: lists have no
merge that would not surprise. The files of notaryCert, of notation and of registryCredentialsSecret are mounted all the same, for it to name.
*/}}
{{- define "ratify.config" -}}
{{- $made := dict -}}
{{- $given := .Values.config -}}
{{- if not (hasKey $given "stores") -}}
{{- $_ := set $made "stores" (include "ratify.stores" . | fromYamlArray) -}}
{{- else if .Values.registries -}}
{{- fail "config.stores: replaces what registries says; set one or the other." -}}
{{- end -}}
{{- if not (hasKey $given "verifiers") -}}
{{- $_ := set $made "verifiers" (include "ratify.verifiers" . | fromYamlArray) -}}
{{- else if .Values.notation.trustPolicy -}}
{{- fail "config.verifiers: replaces what notation.trustPolicy says; set one or the other." -}}
{{- end -}}
{{- $_ := set $made "policies" .Values.policies -}}
{{- $_ := set $made "cache" .Values.cache -}}
{{- $_ := set $made "mutation" (omit .Values.mutation "enabled") -}}
{{- $_ := set $made "gatekeeperCacheTTL" .Values.gatekeeper.cacheTTL -}}
{{- $_ := set $made "concurrency" .Values.concurrency -}}
{{- range $key, $value := $given }}{{ $_ := set $made $key $value }}{{ end -}}
{{- include "ratify.checkVerifierNames" $made -}}
{{- $text := toYaml $made -}}
{{- $secret := or (regexMatch `(?m)^[ -]*(password|identityToken):` $text) (regexMatch `(?m)^[ -]*proxy: ["']?https?://[^/]*@` $text) -}}
{{- if and $secret (eq .Values.configKind "ConfigMap") -}}
{{- fail "configKind: the configuration contains a password, which a ConfigMap does not keep. Set configKind to Secret, or keep the password in a file (registryCredentialsSecret, or credentials.passwordFile with extraVolumes)." -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{/* One store. An entry without credentials gets the docker config file, and so does every registry that has no entry. */}}
{{- define "ratify.stores" -}}
{{- $entries := list -}}
{{- $hosts := list -}}
{{- $file := dict "dockerConfig" "/etc/ratify/docker/config.json" -}}
{{- range $i, $entry := .Values.registries -}}
{{- include "ratify.checkHosts" (dict "place" (printf "registries[%d]" $i) "entry" $entry) -}}
{{- $e := omit $entry "ca" -}}
{{- with $entry.ca -}}
{{- include "ratify.checkPEM" (dict "value" (printf "registries[%d].ca" $i) "text" .) -}}
{{- $_ := set $e "caFile" (printf "/etc/ratify/config/registry-%d.crt" $i) -}}
{{- end -}}
{{- if and $.Values.registryCredentialsSecret (not (hasKey $e "credentials")) -}}
{{- $_ := set $e "credentials" $file -}}
{{- end -}}
{{- $entries = append $entries $e -}}
{{- $hosts = append $hosts $entry.host -}}
{{- end -}}
{{- if and .Values.registryCredentialsSecret (not (has "*" $hosts)) -}}
{{- $entries = append $entries (dict "host" "*" "credentials" $file) -}}
{{- end -}}
{{- $settings := dict -}}
{{- with $entries }}{{ $_ := set $settings "registries" . }}{{ end -}}
{{- list (dict "name" "registries" "type" "oras" "scopes" (list "*") "settings" $settings) | toYaml -}}
{{- end -}}

{{/*
The trust stores that the values give, as one map by type:name, in no order: {type, name, files, directories, from}, where from
names the value.
*/}}
{{- define "ratify.trustStores" -}}
{{- $n := .Values.notation -}}
{{- $stores := dict -}}
{{- if or .Values.notaryCert $n.caSecret -}}
{{- $ca := dict "type" "ca" "name" "certs" "from" "notaryCert or notation.caSecret gives" -}}
{{- if .Values.notaryCert }}{{ $_ := set $ca "files" (list "/etc/ratify/config/notary.crt") }}{{ end -}}
{{- if $n.caSecret }}{{ $_ := set $ca "directories" (list "/etc/ratify/trust/ca") }}{{ end -}}
{{- $_ := set $stores "ca:certs" $ca -}}
{{- end -}}
{{- if $n.tsaCert -}}
{{- $_ := set $stores "tsa:certs" (dict "type" "tsa" "name" "certs" "from" "notation.tsaCert gives" "files" (list "/etc/ratify/config/tsa.crt")) -}}
{{- end -}}
{{- range $i, $entry := $n.trustStores -}}
{{- $key := printf "%s:%s" $entry.type $entry.name -}}
{{- with get $stores $key -}}
{{- fail (printf "notation.trustStores[%d]: is %s, which %s already. Take another name, or put the certificates together." $i $key .from) -}}
{{- end -}}
{{- $store := dict "type" $entry.type "name" $entry.name "from" (printf "notation.trustStores[%d] gives" $i) -}}
{{- if $entry.certificates }}{{ $_ := set $store "files" (list (printf "/etc/ratify/config/%s" (include "ratify.trustFile" $entry))) }}{{ end -}}
{{- if $entry.secret }}{{ $_ := set $store "directories" (list (include "ratify.trustDirectory" $entry)) }}{{ end -}}
{{- $_ := set $stores $key $store -}}
{{- end -}}
{{- toJson $stores -}}
{{- end -}}

{{- define "ratify.trustFile" -}}
{{- printf "trust-%s-%s.crt" .type .name -}}
{{- end -}}

{{- define "ratify.trustDirectory" -}}
{{- printf "/etc/ratify/trust/%s-%s" .type .name -}}
{{- end -}}

{{/* One verifier of Notary Project signatures. */}}
{{- define "ratify.verifiers" -}}
{{- $n := .Values.notation -}}
{{- $given := include "ratify.trustStores" . | fromJson -}}
{{- $keys := keys $given | sortAlpha -}}
{{- if not (regexMatch "(ca|signingAuthority):" (join " " $keys)) -}}
{{- fail "notaryCert: no signer is trusted yet, so every image would be refused. Pass the certificate of the CA that issued the signer's, or the signer's own if it is self-signed:\n  helm … --set-file notaryCert=./signer.crt\nor name a Secret that holds it (notation.caSecret), or more than one trust store (notation.trustStores), or write the verifiers yourself (config.verifiers)." -}}
{{- end -}}
{{- $statement := dict "name" "default" "registryScopes" $n.registryScopes "signatureVerification" (dict "level" $n.level) "trustStores" $keys "trustedIdentities" $n.trustedIdentities -}}
{{- $policy := $n.trustPolicy | default (dict "version" "1.0" "trustPolicies" (list $statement)) -}}
{{- include "ratify.checkTrustStores" (dict "policy" $policy "given" $given) -}}
{{- $stores := list -}}
{{- range $keys }}{{ $stores = append $stores (omit (get $given .) "from") }}{{ end -}}
{{- $settings := dict "trustStores" $stores "trustPolicy" $policy "requireRevocationInfo" $n.requireRevocationInfo "allowPrivateRevocation" $n.allowPrivateRevocation -}}
{{- list (dict "name" "notation" "type" "notation" "settings" $settings) | toYaml -}}
{{- end -}}

{{/*
The files of the configuration's volume, as one map. They are in one volume so that the kubelet swaps them together:
the provider never sees a policy without the certificates that it names.
*/}}
{{- define "ratify.configFiles" -}}
{{- include "ratify.checkPEM" (dict "value" "notaryCert" "text" .Values.notaryCert) -}}
{{- include "ratify.checkPEM" (dict "value" "notation.tsaCert" "text" .Values.notation.tsaCert) -}}
{{- $files := dict "config.yaml" (printf "%s\n" (include "ratify.config" .)) -}}
{{- with .Values.notaryCert }}{{ $_ := set $files "notary.crt" . }}{{ end -}}
{{- with .Values.notation.tsaCert }}{{ $_ := set $files "tsa.crt" . }}{{ end -}}
{{- range $i, $entry := .Values.notation.trustStores -}}
{{- include "ratify.checkPEM" (dict "value" (printf "notation.trustStores[%d].certificates" $i) "text" $entry.certificates) -}}
{{- with $entry.certificates }}{{ $_ := set $files (include "ratify.trustFile" $entry) . }}{{ end -}}
{{- end -}}
{{- range $i, $entry := .Values.registries -}}
{{- with $entry.ca }}{{ $_ := set $files (printf "registry-%d.crt" $i) . }}{{ end -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

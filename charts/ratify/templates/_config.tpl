{{/*
The configuration file. Every key of .Values.config replaces the one made from the other values, whole: lists have no
merge that would not surprise. The files of values are mounted all the same, for it to name.
*/}}
{{- define "ratify.config" -}}
{{- include "ratify.checkReplaced" . -}}
{{- include "ratify.checkTenancy" . -}}
{{- $made := dict -}}
{{- $given := .Values.config -}}
{{- if not (hasKey $given "stores") }}{{ $_ := set $made "stores" (include "ratify.stores" . | fromYamlArray) }}{{ end -}}
{{- if not (hasKey $given "verifiers") }}{{ $_ := set $made "verifiers" (include "ratify.verifiers" . | fromYamlArray) }}{{ end -}}
{{- with .Values.exemptions }}{{ $_ := set $made "exemptions" . }}{{ end -}}
{{- with .Values.mirrors }}{{ $_ := set $made "mirrors" . }}{{ end -}}
{{- if .Values.tenancy.enabled }}{{ $_ := set $made "tenancy" (include "ratify.tenancy" . | fromYaml) }}{{ end -}}
{{- $_ := set $made "cache" .Values.cache -}}
{{- $_ := set $made "mutation" (omit .Values.mutation "enabled") -}}
{{- $_ := set $made "gatekeeperCacheTTL" .Values.gatekeeper.cacheTTL -}}
{{- $_ := set $made "concurrency" .Values.concurrency -}}
{{- range $key, $value := $given }}{{ $_ := set $made $key $value }}{{ end -}}
{{- if not (hasKey $given "policies") -}}
{{- $policies := .Values.policies -}}
{{- if not $policies }}{{ $policies = include "ratify.onlyPolicy" $made | fromYamlArray }}{{ end -}}
{{- $_ := set $made "policies" $policies -}}
{{- end -}}
{{- include "ratify.checkVerifierNames" $made -}}
{{- include "ratify.checkPolicies" $made -}}
{{- include "ratify.checkPullSecrets" (dict "root" . "file" $made) -}}
{{- $text := toYaml $made -}}
{{- if eq .Values.configKind "ConfigMap" }}{{ include "ratify.checkSecrets" (dict "text" $text "files" .Values.files) }}{{ end -}}
{{- $text -}}
{{- end -}}

{{/* The policy where none is written: with one verifier there is nothing to choose. With more there is, and a guess would be too lax or too strict. */}}
{{- define "ratify.onlyPolicy" -}}
{{- $names := list -}}
{{- range .verifiers }}{{ $names = append $names .name }}{{ end -}}
{{- if gt (len $names) 1 -}}
{{- fail (printf "policies: there is more than one verifier (%s), and nothing says which of them must verify for which images. Write policies, such as\n  policies:\n  - {name: default, scopes: [\"*\"], verifiers: [%s], require: all}\nor require: any where one of them is enough." (join ", " $names) (join ", " $names)) -}}
{{- end -}}
{{- if not $names }}{{ fail "config.verifiers: there is none, so every image would be refused." }}{{ end -}}
{{- list (dict "name" "default" "scopes" (list "*") "verifiers" $names "require" "all") | toYaml -}}
{{- end -}}

{{- define "ratify.tenancy" -}}
{{- $t := .Values.tenancy -}}
{{- $tenancy := dict "enabled" true "withoutPolicy" $t.withoutPolicy -}}
{{- if $t.tenantsConfigMap }}{{ $_ := set $tenancy "directory" "/etc/ratify/tenants" }}{{ $_ := set $tenancy "delegate" $t.delegate }}{{ end -}}
{{- toYaml $tenancy -}}
{{- end -}}

{{/*
One store. An entry without credentials gets the docker config file, and so does every registry that has no entry. The pull
secrets of namespaces are for all of them: they are sent nowhere but where they say themselves.
*/}}
{{- define "ratify.stores" -}}
{{- $entries := list -}}
{{- $hosts := list -}}
{{- $tenants := include "ratify.tenantSources" . | fromYamlArray -}}
{{- $shared := include "ratify.sharedSources" . | fromYamlArray -}}
{{- range $i, $entry := .Values.registries -}}
{{- include "ratify.checkHosts" (dict "place" (printf "registries[%d]" $i) "entry" $entry) -}}
{{- $e := omit $entry "ca" "credentials" -}}
{{- with $entry.ca -}}
{{- include "ratify.checkPEM" (dict "value" (printf "registries[%d].ca" $i) "text" .) -}}
{{- $_ := set $e "caFile" (printf "/etc/ratify/config/registry-%d.crt" $i) -}}
{{- end -}}
{{- $own := $shared -}}
{{- if hasKey $entry "credentials" }}{{ $own = kindIs "slice" $entry.credentials | ternary $entry.credentials (list $entry.credentials) }}{{ end -}}
{{- with concat $tenants $own }}{{ $_ := set $e "credentials" (eq (len .) 1 | ternary (first .) .) }}{{ end -}}
{{- $entries = append $entries $e -}}
{{- $hosts = append $hosts $entry.host -}}
{{- end -}}
{{- $sources := concat $tenants $shared -}}
{{- if and $sources (not (has "*" $hosts)) -}}
{{- $entries = append $entries (dict "host" "*" "credentials" (eq (len $sources) 1 | ternary (first $sources) $sources)) -}}
{{- end -}}
{{- $settings := dict -}}
{{- with $entries }}{{ $_ := set $settings "registries" . }}{{ end -}}
{{- list (dict "name" "registries" "type" "oras" "scopes" (list "*") "settings" $settings) | toYaml -}}
{{- end -}}

{{/* The namespaces are named: elsewhere the API server refuses, and each image would wait for that. */}}
{{- define "ratify.tenantSources" -}}
{{- $names := list -}}
{{- range .Values.tenancy.pullSecrets.namespaces }}{{ $names = append $names .name }}{{ end -}}
{{- $sources := list -}}
{{- with $names }}{{ $sources = list (dict "namespaces" . "pullSecrets" dict) }}{{ end -}}
{{- toYaml $sources -}}
{{- end -}}

{{/* A source without namespaces is the cluster's; one with "*" is everybody's, and the cluster's, too. */}}
{{- define "ratify.sharedSources" -}}
{{- $sources := list -}}
{{- $for := .Values.tenancy.registryCredentialsFor -}}
{{- if .Values.registryCredentialsSecret -}}
{{- $file := "/etc/ratify/docker/config.json" -}}
{{- if not (has "*" $for) }}{{ $sources = append $sources (dict "dockerConfig" $file) }}{{ end -}}
{{- with $for }}{{ $sources = append $sources (dict "dockerConfig" $file "namespaces" .) }}{{ end -}}
{{- end -}}
{{- toYaml $sources -}}
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

{{/* What the values make, and .Values.verifiers. */}}
{{- define "ratify.verifiers" -}}
{{- $made := concat (include "ratify.notation" . | fromYamlArray) (include "ratify.cosign" . | fromYamlArray) -}}
{{- $names := list -}}
{{- range $made }}{{ $names = append $names .name }}{{ end -}}
{{- range $i, $verifier := .Values.verifiers -}}
{{- if has $verifier.name $names -}}
{{- fail (printf "verifiers[%d]: there is another verifier named %q; take another name." $i $verifier.name) -}}
{{- end -}}
{{- $names = append $names $verifier.name -}}
{{- end -}}
{{- $all := concat $made .Values.verifiers -}}
{{- if not $all }}{{ include "ratify.noSigner" . }}{{ end -}}
{{- toYaml $all -}}
{{- end -}}

{{- define "ratify.noSigner" -}}
{{- fail "notaryCert: no signer is trusted yet, so every image would be refused. Pass the certificate of the CA that issued the signer's, or the signer's own if it is self-signed:\n  helm … --set-file notaryCert=./signer.crt\nor a public key of cosign's:\n  helm … --set-file 'cosign.keys[0].key=./cosign.pub'\nor name a Secret that holds certificates (notation.caSecret), or more than one trust store (notation.trustStores), or who may sign without a key (cosign.identities), or write verifiers yourself (verifiers, or config.verifiers in place of all these)." -}}
{{- end -}}

{{/* The verifier of Notary Project signatures, if somebody is trusted. */}}
{{- define "ratify.notation" -}}
{{- $n := .Values.notation -}}
{{- $given := include "ratify.trustStores" . | fromJson -}}
{{- $keys := keys $given | sortAlpha -}}
{{- $verifiers := list -}}
{{- if regexMatch "(ca|signingAuthority):" (join " " $keys) -}}
{{- $statement := dict "name" "default" "registryScopes" $n.registryScopes "signatureVerification" (dict "level" $n.level) "trustStores" $keys "trustedIdentities" $n.trustedIdentities -}}
{{- $policy := $n.trustPolicy | default (dict "version" "1.0" "trustPolicies" (list $statement)) -}}
{{- include "ratify.checkTrustStores" (dict "policy" $policy "given" $given) -}}
{{- $stores := list -}}
{{- range $keys }}{{ $stores = append $stores (omit (get $given .) "from") }}{{ end -}}
{{- $settings := dict "trustStores" $stores "trustPolicy" $policy "requireRevocationInfo" $n.requireRevocationInfo "allowPrivateRevocation" $n.allowPrivateRevocation -}}
{{- $verifiers = list (dict "name" "notation" "type" "notation" "settings" $settings) -}}
{{- else if or $keys $n.trustPolicy -}}
{{- include "ratify.noSigner" . -}}
{{- end -}}
{{- toYaml $verifiers -}}
{{- end -}}

{{/* The verifier of Sigstore signatures, if somebody is trusted. */}}
{{- define "ratify.cosign" -}}
{{- include "ratify.checkCosign" . -}}
{{- $c := .Values.cosign -}}
{{- $verifiers := list -}}
{{- if or $c.keys $c.identities -}}
{{- $settings := dict "cosignTags" $c.tags -}}
{{- $keys := list -}}
{{- range $i, $key := $c.keys -}}
{{- $keys = append $keys (dict "name" ($key.name | default (printf "key-%d" $i)) "file" (printf "/etc/ratify/config/cosign-%d.pub" $i)) -}}
{{- end -}}
{{- with $keys }}{{ $_ := set $settings "keys" . }}{{ end -}}
{{- with $c.identities }}{{ $_ := set $settings "identities" . }}{{ end -}}
{{- if $c.trustedRoot }}{{ $_ := set $settings "trustedRoot" "/etc/ratify/config/trusted_root.json" }}{{ end -}}
{{- with $c.thresholds }}{{ $_ := set $settings "thresholds" . }}{{ end -}}
{{- $verifiers = list (dict "name" "cosign" "type" "cosign" "settings" $settings) -}}
{{- end -}}
{{- toYaml $verifiers -}}
{{- end -}}

{{/*
The files of the configuration's volume, as one map. They are in one volume so that the kubelet swaps them together:
the provider never sees a policy without the certificates that it names. It is mounted a second time for those of .Values.files.
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
{{- range $i, $entry := .Values.cosign.keys }}{{ $_ := set $files (printf "cosign-%d.pub" $i) $entry.key }}{{ end -}}
{{- with .Values.cosign.trustedRoot }}{{ $_ := set $files "trusted_root.json" . }}{{ end -}}
{{- range $i, $entry := .Values.registries -}}
{{- with $entry.ca }}{{ $_ := set $files (printf "registry-%d.crt" $i) . }}{{ end -}}
{{- end -}}
{{- range $name, $content := .Values.files -}}
{{- if hasKey $files $name }}{{ fail (printf "files.%s: the chart makes a file of that name from another value; take another." $name) }}{{ end -}}
{{- $_ := set $files $name $content -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/*
The provider's TLS pair.

What must never happen: a pod serves a certificate whose CA Gatekeeper does not have yet, or no longer. Helm applies the
Secret before the Providers, the kubelet brings a new Secret to a pod at any time within about 90 seconds, and a new
pod has it at once; so one upgrade cannot bring both a new CA and its pair. A new pair goes through three states, each
with its own upgrade:

  prepare  the new pair is made and kept aside; caBundle has its CA beside the one that is served
  promote  the new pair is served; caBundle keeps the CA of the old one
  clean    the old CA leaves caBundle

A step waits until at least two minutes after the one before it (90 seconds of the kubelet, and a reserve), and is taken
by the first upgrade after that, whatever the upgrade is for.

The CA's private key is never kept: a new pair comes with a new CA.
*/}}
{{- define "ratify.tls.settleSeconds" -}}120{{- end -}}

{{- define "ratify.tls.secretName" -}}
{{- include "ratify.fullname" . }}-tls
{{- end -}}

{{/* The host name or address that the Providers dial, besides the names of the Service. */}}
{{- define "ratify.tls.host" -}}
{{- get (urlParse (include "ratify.url" .)) "hostname" -}}
{{- end -}}

{{- define "ratify.tls.commands" -}}
{{- $host := include "ratify.tls.host" . -}}
{{- $san := regexMatch "^[0-9.]+$|:" $host | ternary (printf "IP:%s" $host) (printf "DNS:%s" $host) -}}
{{- printf "  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=ratify-ca -keyout ca.key -out ca.crt\n  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=ratify -addext subjectAltName=%s -addext extendedKeyUsage=serverAuth -keyout tls.key -out tls.csr\n  openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -days 3650 -copy_extensions copy -out tls.crt\n  helm … --set-file provider.tls.crt=tls.crt,provider.tls.key=tls.key,provider.tls.ca=ca.crt" $san -}}
{{- end -}}

{{/* The pair in the cluster, as a map of its keys, decoded, and of its annotations; empty where there is none to be seen. */}}
{{- define "ratify.tls.found" -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (include "ratify.tls.secretName" .) -}}
{{- $data := get $secret "data" | default dict -}}
{{- $found := dict -}}
{{- if and (hasKey $data "tls.crt") (hasKey $data "tls.key") (hasKey $data "ca.crt") -}}
{{- range $key, $value := $data }}{{ $_ := set $found $key (b64dec $value) }}{{ end -}}
{{- $annotations := dig "metadata" "annotations" dict $secret -}}
{{- $_ := set $found "rotation" (get $annotations "ratify/rotation") -}}
{{- $_ := set $found "host" (get $annotations "ratify/host") -}}
{{- $_ := set $found "changedAt" (get $annotations "ratify/changed-at") -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/*
What this rendering does, given what it found: new, keep, prepare, wait, promote, clean, or move (the Providers get another
URL, which the old pair does not cover).
*/}}
{{- define "ratify.tls.step" -}}
{{- $root := .root -}}
{{- $found := .found -}}
{{- $tls := $root.Values.provider.tls -}}
{{- $given := or $tls.crt $tls.key $tls.ca -}}
{{- include "ratify.tls.check" $root -}}
{{- if not $found -}}
{{- if and $root.Release.IsUpgrade (not $given) (not $tls.rotation) -}}
{{- fail (printf "provider.tls: Secret %q, which holds the TLS pair, was not found in namespace %q. An upgrade does not make a new pair by itself, for running pods may still serve the old one. Without access to the cluster (helm template, --dry-run=client, GitOps) set provider.tls.crt, key and ca, or use --dry-run=server. If the Secret is really gone, ask for a new pair: --set provider.tls.rotation=%s. To make a pair yourself:\n%s" (include "ratify.tls.secretName" $root) $root.Release.Namespace (now | date "2006-01-02") (include "ratify.tls.commands" $root)) -}}
{{- end -}}
new
{{- else -}}
{{- $settled := ge (sub (now | unixEpoch | int64) (int64 $found.changedAt)) (int64 (include "ratify.tls.settleSeconds" $root)) -}}
{{- $next := get $found "next-ca.crt" | trim -}}
{{- $asked := and $tls.rotation (ne $tls.rotation $found.rotation) -}}
{{- $moved := and (not $given) $found.host (ne $found.host (include "ratify.tls.host" $root)) -}}
{{- if $given -}}
{{- $asked = not (has (trim $tls.ca) (list (get $found "ca.crt" | trim) $next)) -}}
{{- if ne (trim $tls.ca) $next }}{{ $next = "" }}{{ end -}}
{{- end -}}
{{- if and $moved (not $asked) -}}
{{- fail (printf "provider.url: the TLS pair in Secret %q was made for %q, not for %q. Ask for a new pair with --set provider.tls.rotation=%s, or pass one with provider.tls.crt, key and ca." (include "ratify.tls.secretName" $root) $found.host (include "ratify.tls.host" $root) (now | date "2006-01-02")) -}}
{{- else if $moved -}}move
{{- else if and $asked (not $settled) -}}
{{- fail (printf "provider.tls: the last change of the TLS pair is less than %s seconds old, and pods may still serve the one before it. Try again later." (include "ratify.tls.settleSeconds" $root)) -}}
{{- else if $asked -}}prepare
{{- else if $next -}}{{ $settled | ternary "promote" "wait" }}
{{- else if and $settled (hasKey $found "previous-ca.crt") -}}clean
{{- else -}}keep
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ratify.tls.check" -}}
{{- $tls := .Values.provider.tls -}}
{{- if and (or $tls.crt $tls.key $tls.ca) (not (and $tls.crt $tls.key $tls.ca)) -}}
{{- fail "provider.tls: crt, key and ca belong together; set all three or none." -}}
{{- end -}}
{{- if and $tls.crt $tls.rotation -}}
{{- fail "provider.tls.rotation: asks the chart for a new pair, but provider.tls.crt gives it one; set one or the other." -}}
{{- end -}}
{{- if and $tls.requireValues (not $tls.crt) -}}
{{- fail (printf "provider.tls.requireValues: provider.tls.crt, provider.tls.key and provider.tls.ca are not set. To make them:\n%s" (include "ratify.tls.commands" .)) -}}
{{- end -}}
{{- if and $tls.key (not (contains "PRIVATE KEY-----" $tls.key)) -}}
{{- fail "provider.tls.key: is not a private key in PEM." -}}
{{- end -}}
{{- range $name, $text := pick $tls "crt" "ca" "extraCA" -}}
{{- include "ratify.checkPEM" (dict "value" (printf "provider.tls.%s" $name) "text" $text) -}}
{{- end -}}
{{- end -}}

{{/* A new pair: ECDSA P-256, because Gatekeeper up to 3.21 makes a handshake for each request. */}}
{{- define "ratify.tls.new" -}}
{{- $host := include "ratify.tls.host" . -}}
{{- $service := printf "%s.%s" (include "ratify.fullname" .) .Release.Namespace -}}
{{- $names := list (printf "%s.svc" $service) (printf "%s.svc.cluster.local" $service) $service -}}
{{- $addresses := list -}}
{{- if regexMatch "^[0-9.]+$|:" $host -}}
{{- $addresses = append $addresses $host -}}
{{- else -}}
{{- $names = append $names $host | uniq -}}
{{- end -}}
{{- $days := int .Values.provider.tls.days -}}
{{- $ca := genCAWithKey "ratify-ca" $days (genPrivateKey "ecdsa") -}}
{{- $pair := genSignedCertWithKey "ratify" $addresses $names $days $ca (genPrivateKey "ecdsa") -}}
{{- dict "crt" $pair.Cert "key" $pair.Key "ca" $ca.Cert | toJson -}}
{{- end -}}

{{/* The pair of this rendering where a step needs one: what the values give, or a new one. */}}
{{- define "ratify.tls.pair" -}}
{{- $tls := .Values.provider.tls -}}
{{- if $tls.crt }}{{ pick $tls "crt" "key" "ca" | toJson }}{{ else }}{{ include "ratify.tls.new" . }}{{ end -}}
{{- end -}}

{{/*
The Secret's data, what is noted beside it, and the CAs of caBundle, as one map: {step, data, rotation, host, changedAt, bundle}.
It is to be included once in a rendering: a pair made twice is two pairs.
*/}}
{{- define "ratify.tls" -}}
{{- $found := include "ratify.tls.found" . | fromJson -}}
{{- $step := include "ratify.tls.step" (dict "root" . "found" $found) -}}
{{- $tls := .Values.provider.tls -}}
{{- $changedAt := get $found "changedAt" -}}
{{- $data := pick $found "tls.crt" "tls.key" "ca.crt" "next-tls.crt" "next-tls.key" "next-ca.crt" "previous-ca.crt" -}}
{{- if has $step (list "new" "move") -}}
{{- $pair := include "ratify.tls.pair" . | fromJson -}}
{{- $old := get $data "ca.crt" -}}
{{- $data = dict "tls.crt" $pair.crt "tls.key" $pair.key "ca.crt" $pair.ca -}}
{{- with $old }}{{ $_ := set $data "previous-ca.crt" . }}{{ end -}}
{{- else if has $step (list "prepare" "wait") -}}
{{- if or $tls.crt (eq $step "prepare") -}}
{{- $pair := include "ratify.tls.pair" . | fromJson -}}
{{- $data = merge (dict "next-tls.crt" $pair.crt "next-tls.key" $pair.key "next-ca.crt" $pair.ca) $data -}}
{{- end -}}
{{- else -}}
{{- if eq $step "promote" -}}
{{- $data = dict "tls.crt" (get $data "next-tls.crt") "tls.key" (get $data "next-tls.key") "ca.crt" (get $data "next-ca.crt") "previous-ca.crt" (get $data "ca.crt") -}}
{{- else if eq $step "clean" -}}
{{- $data = unset $data "previous-ca.crt" -}}
{{- end -}}
{{- if $tls.crt -}}
{{- $data = merge (dict "tls.crt" $tls.crt "tls.key" $tls.key "ca.crt" $tls.ca) (pick $data "previous-ca.crt") -}}
{{- end -}}
{{- end -}}
{{- /* A first pair from values replaces nothing, and its rendering must be the same each time. */ -}}
{{- if and (has $step (list "new" "move" "prepare" "promote")) (or $found (not $tls.crt)) -}}
{{- $changedAt = now | unixEpoch -}}
{{- end -}}
{{- $bundle := list -}}
{{- range list (get $data "ca.crt") (get $data "next-ca.crt") (get $data "previous-ca.crt") $tls.extraCA -}}
{{- with . }}{{ $bundle = append $bundle (trim .) }}{{ end -}}
{{- end -}}
{{- dict "step" $step "data" $data "bundle" (printf "%s\n" (join "\n" $bundle)) "rotation" ($tls.rotation | default (get $found "rotation")) "host" (empty $tls.crt | ternary (include "ratify.tls.host" .) "") "changedAt" $changedAt | toJson -}}
{{- end -}}

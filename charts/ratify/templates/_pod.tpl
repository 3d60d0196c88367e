{{/*
A quantity of memory in bytes. Kubernetes has more spellings (exponents, milli-bytes); who uses them is told.
*/}}
{{- define "ratify.bytes" -}}
{{- $q := .quantity -}}
{{- /* A large plain number comes from YAML as a float. */ -}}
{{- if kindIs "float64" $q }}{{ $q = int64 $q }}{{ end -}}
{{- $q = toString $q -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- if not (regexMatch "^[0-9]+(k|M|G|Ki|Mi|Gi)?$" $q) -}}
{{- fail (printf "%s: %q: %s is made from it; write it as a whole number with k, M, G, Ki, Mi or Gi, such as 512Mi." .name $q .made) -}}
{{- end -}}
{{- mul (regexFind "^[0-9]+" $q | int64) (get $units (regexFind "[A-Za-z]*$" $q)) -}}
{{- end -}}

{{- define "ratify.goMemLimit" -}}
{{- $limit := dig "limits" "memory" "" .Values.resources -}}
{{- if $limit -}}
{{- $bytes := include "ratify.bytes" (dict "quantity" $limit "name" "resources.limits.memory" "made" "GOMEMLIMIT") | int64 -}}
{{- div (mul $bytes (int64 .Values.goMemLimitPercent)) 100 -}}
{{- end -}}
{{- end -}}

{{- define "ratify.contentDisk" -}}
{{- include "ratify.bytes" (dict "quantity" .Values.content.disk "name" "content.disk" "made" "the limit of a volume") -}}
{{- end -}}

{{- define "ratify.contentMemory" -}}
{{- include "ratify.bytes" (dict "quantity" .Values.content.memory "name" "content.memory" "made" "--content-memory") -}}
{{- end -}}

{{- define "ratify.args" -}}
- serve
- --config=/etc/ratify/config/config.yaml
- --address=:6001
- --cert-dir=/etc/ratify/tls
- --client-ca=/etc/ratify/gatekeeper/ca.crt
- --client-name={{ .Values.gatekeeper.serviceName }}.{{ include "ratify.gatekeeperNamespace" . }}.svc
- --health-address=:9099
- --verify-timeout={{ include "ratify.deadline" (dict "webhook" .Values.gatekeeper.validatingWebhookTimeoutSeconds) }}
{{- if .Values.mutation.enabled }}
- --mutate-timeout={{ include "ratify.deadline" (dict "webhook" .Values.gatekeeper.mutatingWebhookTimeoutSeconds) }}
{{- end }}
- --shutdown-delay={{ int .Values.shutdownDelaySeconds }}s
- --log-level={{ .Values.logLevel }}
- --content-memory={{ include "ratify.contentMemory" . }}
{{- if ne (include "ratify.contentDisk" .) "0" }}
- --content-dir=/var/cache/ratify
- --content-disk={{ include "ratify.contentDisk" . }}
{{- end }}
{{- end -}}

{{/* Whole directories are mounted, never a subPath, which would not follow a change. */}}
{{- define "ratify.volumeMounts" -}}
- {name: config, mountPath: /etc/ratify/config, readOnly: true}
- {name: tls, mountPath: /etc/ratify/tls, readOnly: true}
- {name: gatekeeper, mountPath: /etc/ratify/gatekeeper, readOnly: true}
{{- if .Values.registryCredentialsSecret }}
- {name: docker, mountPath: /etc/ratify/docker, readOnly: true}
{{- end }}
{{- if .Values.notation.caSecret }}
- {name: trust-ca, mountPath: /etc/ratify/trust/ca, readOnly: true}
{{- end }}
{{- range $i, $entry := .Values.notation.trustStores }}
{{- if $entry.secret }}
- {name: trust-{{ $i }}, mountPath: {{ include "ratify.trustDirectory" $entry }}, readOnly: true}
{{- end }}
{{- end }}
{{- if .Values.files }}
- {name: config, mountPath: /etc/ratify/files, readOnly: true}
{{- end }}
{{- if .Values.tenancy.tenantsConfigMap }}
- {name: tenants, mountPath: /etc/ratify/tenants, readOnly: true}
{{- end }}
{{- if ne (include "ratify.contentDisk" .) "0" }}
- {name: content, mountPath: /var/cache/ratify}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
None of these is optional: without Gatekeeper's CA the pod does not start, rather than serve whoever asks. Of Gatekeeper's
Secret only the certificate is mounted, for its key ca.key could sign any client.
*/}}
{{- define "ratify.volumes" -}}
- name: config
{{- if eq .Values.configKind "Secret" }}
  secret:
    secretName: {{ include "ratify.fullname" . }}-config
    defaultMode: 0440
{{- else }}
  configMap:
    name: {{ include "ratify.fullname" . }}-config
{{- end }}
- name: tls
  secret:
    secretName: {{ include "ratify.tls.secretName" . }}
    defaultMode: 0440
    items:
    - {key: tls.crt, path: tls.crt}
    - {key: tls.key, path: tls.key}
- name: gatekeeper
{{- if .Values.gatekeeper.clientCA }}
  configMap:
    name: {{ include "ratify.fullname" . }}-gatekeeper
    items:
    - {key: ca.crt, path: ca.crt}
{{- else }}
  secret:
    secretName: {{ .Values.gatekeeper.certSecret }}
    items:
    - {key: ca.crt, path: ca.crt}
{{- end }}
{{- with .Values.registryCredentialsSecret }}
- name: docker
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
    - {key: .dockerconfigjson, path: config.json}
{{- end }}
{{- with .Values.notation.caSecret }}
- name: trust-ca
  secret:
    secretName: {{ . }}
{{- end }}
{{- range $i, $entry := .Values.notation.trustStores }}
{{- with $entry.secret }}
- name: trust-{{ $i }}
  secret:
    secretName: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.tenancy.tenantsConfigMap }}
- name: tenants
  configMap:
    name: {{ . }}
{{- end }}
{{- with include "ratify.contentDisk" . | int64 }}
- name: content
  emptyDir:
    # A pod whose volume takes more is evicted, and what the provider keeps to is the sum of its files: a quarter is for the
    # directory itself.
    sizeLimit: {{ div (mul . 5) 4 | quote }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ratify.topologySpread" -}}
{{- range .Values.topologySpread.topologyKeys }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
  labelSelector:
    matchLabels:
      {{- include "ratify.selectorLabels" $ | nindent 6 }}
  # Each generation is spread by itself: during a rollout the old pods do not count.
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end -}}

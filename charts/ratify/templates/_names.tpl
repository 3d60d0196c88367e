{{- define "ratify.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters, so that the longest suffix ("-gatekeeper") still makes a name of 63. */}}
{{- define "ratify.fullname" -}}
{{- $name := include "ratify.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $full | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "ratify.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "ratify.fullname" .) "default") -}}
{{- end -}}

{{- define "ratify.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ratify.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "ratify.labels" -}}
{{ include "ratify.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ratify.image" -}}
{{- $image := printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- with .Values.image.digest }}{{ $image = printf "%s@%s" $image . }}{{ end -}}
{{- $image -}}
{{- end -}}

{{- define "ratify.gatekeeperNamespace" -}}
{{- .Values.gatekeeper.namespace | default .Release.Namespace -}}
{{- end -}}

{{/* Where the Providers send their requests: no slash at the end. */}}
{{- define "ratify.url" -}}
{{- $service := printf "https://%s.%s.svc:6001" (include "ratify.fullname" .) .Release.Namespace -}}
{{- .Values.provider.url | default $service | trimSuffix "/" -}}
{{- end -}}

{{- define "polylens.name" -}}
{{- $name := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- $name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "polylens.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "polylens.labels" -}}
{{ include "polylens.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* Values that could not work together are refused before anything is installed. */}}
{{- define "polylens.check" -}}
{{- if and .Values.library.address .Values.library.claim }}
{{- fail "library.address and library.claim are both set; a server has one library" }}
{{- end }}
{{- if and .Values.library.claim (gt (int .Values.replicas) 1) }}
{{- fail (printf "replicas is %d with library.claim: one process at a time writes to an index. Keep the index on object storage and set library.address to s3://BUCKET/PREFIX, or set replicas to 1" (int .Values.replicas)) }}
{{- end }}
{{- if and .Values.classifiers.address .Values.settings.classifiers }}
{{- fail "classifiers.address and settings.classifiers are both set; they name the same place" }}
{{- end }}
{{- if and (or .Values.library.address .Values.library.claim) (not .Values.keys.secret) }}
{{- fail "a library needs keys.secret: without keys everyone who reaches the service could read every page" }}
{{- end }}
{{- end }}

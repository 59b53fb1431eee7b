{{/* The one name of everything in the operator's namespace: its Service, its Lease and its role go by it, so there is one release
     in a namespace. */}}
{{- define "switchyard.name" -}}
switchyard-operator
{{- end }}

{{/* Of what has no namespace: one per release. */}}
{{- define "switchyard.clusterName" -}}
{{ printf "switchyard-operator-%s" .Release.Namespace | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What never changes: pods are selected by it. */}}
{{- define "switchyard.selector" -}}
app.kubernetes.io/name: switchyard-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "switchyard.labels" -}}
{{ include "switchyard.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: switchyard
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{/* An image by the key of its name. In: (list . "operator"). */}}
{{- define "switchyard.image" -}}
{{- $root := index . 0 }}
{{- $image := $root.Values.image }}
{{- $tag := $image.tag | default $root.Chart.AppVersion }}
{{- $name := printf "%s:%s" (get $image (index . 1)) $tag }}
{{- if $image.registry }}{{ trimSuffix "/" $image.registry }}/{{ end }}{{ $name }}
{{- end }}

{{/* The Secret in which cert-manager keeps the CA. */}}
{{- define "switchyard.givenCa" -}}
switchyard-ca-given
{{- end }}

{{/* What the rules of files/role.yaml are, by the place of their document. In: (list . 0). */}}
{{- define "switchyard.rules" -}}
{{- $root := index . 0 }}
{{- $documents := splitList "\n---\n" ($root.Files.Get "files/role.yaml") }}
{{- $role := index $documents (index . 1) | fromYaml }}
{{- toYaml $role.rules }}
{{- end }}

{{- define "switchyard.subjects" -}}
- kind: ServiceAccount
  name: {{ include "switchyard.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/*
Names and labels. A release called "torpor" makes torpor-gateway; one called "night" makes night-torpor-gateway.
Cluster-scoped objects are called torpor:NAMESPACE:RELEASE:WHAT. A colon cannot occur in a namespace or a release, so no
two installations can ever mean the same object, which dashes alone would not promise ("a-b" in "c", "a" in "b-c").
*/}}

{{- define "torpor.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- $full = $full | trunc 40 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- fail (printf "release name: %q cannot begin the name of a Service, which starts with a letter and has letters, digits and dashes; set fullnameOverride" $full) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{- define "torpor.clusterName" -}}
torpor:{{ .Release.Namespace }}:{{ .Release.Name }}
{{- end -}}

{{- define "torpor.operator.name" -}}{{ include "torpor.fullname" . }}-operator{{- end -}}
{{- define "torpor.gateway.name" -}}{{ include "torpor.fullname" . }}-gateway{{- end -}}
{{/* "https" where the gateway speaks TLS alone, else "http": the port that is always there and what its clients write. */}}
{{- define "torpor.gateway.scheme" -}}
{{- if and .Values.gateway.tls.enabled (not .Values.gateway.tls.plainHTTP) -}}https{{- else -}}http{{- end -}}
{{- end -}}
{{/* The ports of clients by name, as YAML: name: [port of the Service, port of the container]. */}}
{{- define "torpor.gateway.doors" -}}
{{- if eq (include "torpor.gateway.scheme" .) "http" }}
http: [80, 8080]
{{- end }}
{{- if .Values.gateway.tls.enabled }}
https: [443, 8443]
{{- end }}
{{- end -}}
{{- define "torpor.gateway.demandService" -}}{{ include "torpor.gateway.name" . }}-demand{{- end -}}

{{- define "torpor.operator.serviceAccount" -}}
{{ .Values.operator.serviceAccount.name | default (include "torpor.operator.name" .) }}
{{- end -}}
{{- define "torpor.gateway.serviceAccount" -}}
{{ .Values.gateway.serviceAccount.name | default (include "torpor.gateway.name" .) }}
{{- end -}}

{{- define "torpor.demandTokenSecret" -}}
{{ .Values.demandToken.existingSecret | default (printf "%s-demand-token" (include "torpor.fullname" .)) }}
{{- end -}}

{{/* Labels of an object of the chart. Argument: the root context, or (list root "gateway") for an object of one part. */}}
{{- define "torpor.labels" -}}
{{- $root := . -}}
{{- $part := "" -}}
{{- if kindIs "slice" . -}}{{- $root = first . -}}{{- $part = last . -}}{{- end -}}
{{- $ours := dict
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_"))
  "app.kubernetes.io/name" ($part | default $root.Chart.Name)
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/part-of" "torpor"
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service
-}}
{{- merge $ours $root.Values.commonLabels | toYaml -}}
{{- end -}}

{{/* Labels that select the pods of one part. Argument: (list root "gateway"). They never change: a Deployment's selector cannot. */}}
{{- define "torpor.selector" -}}
app.kubernetes.io/name: {{ last . }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/part-of: torpor
{{- end -}}

{{/* Reference of an image. Argument: (list root image). The digest wins; a tag beside it stays for the reader. */}}
{{- define "torpor.image" -}}
{{- $root := first . -}}{{- $image := last . -}}
{{- $registry := $image.registry | default $root.Values.global.imageRegistry | trimSuffix "/" -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}{{ with $image.tag }}:{{ . }}{{ end }}@{{ $image.digest }}
{{- else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/*
What the two parts may do, verb by verb. tests/charts compares this with the requests that the code makes, both ways: a
verb that nothing uses is a defect as much as one that is missing.
*/}}

{{- define "torpor.operator.rules" -}}
- apiGroups: [serving.torpor.dev]
  resources: [inferenceservices]
  verbs: [list, watch]
- apiGroups: [serving.torpor.dev]
  resources: [inferenceservices/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [""]
  resources: [services, persistentvolumeclaims, configmaps]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* In the release's own namespace: the Lease, and the addresses of the gateway's processes. */}}
{{- define "torpor.operator.homeRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "torpor.operator.name" . }}]
  verbs: [get, update]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- end -}}

{{- define "torpor.gateway.rules" -}}
- apiGroups: [serving.torpor.dev]
  resources: [inferenceservices]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- end -}}

{{/* Grants one part its rules: cluster-wide, or in each watched namespace. Argument: (list root part). */}}
{{- define "torpor.grant" -}}
{{- $root := first . -}}{{- $part := last . -}}
{{- $rules := include (printf "torpor.%s.rules" $part) $root -}}
{{- $subject := dict
  "kind" "ServiceAccount"
  "name" (include (printf "torpor.%s.serviceAccount" $part) $root)
  "namespace" $root.Release.Namespace
-}}
{{- if $root.Values.watchNamespaces }}
{{- range $namespace := $root.Values.watchNamespaces | uniq }}
{{- $name := printf "%s-%s" $root.Release.Namespace (include (printf "torpor.%s.name" $part) $root) }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels:
    {{- include "torpor.labels" (list $root $part) | nindent 4 }}
rules:
{{ $rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels:
    {{- include "torpor.labels" (list $root $part) | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects:
{{ list $subject | toYaml }}
{{- end }}
{{- else }}
{{- $name := printf "%s:%s" (include "torpor.clusterName" $root) $part }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $name }}
  labels:
    {{- include "torpor.labels" (list $root $part) | nindent 4 }}
rules:
{{ $rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $name }}
  labels:
    {{- include "torpor.labels" (list $root $part) | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $name }}
subjects:
{{ list $subject | toYaml }}
{{- end }}
{{- end -}}

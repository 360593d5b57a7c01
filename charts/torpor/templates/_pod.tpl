{{/* What the pods of the operator and of the gateway have in common. */}}

{{/* Fields of the pod spec beside its containers. Argument: (list root part), part being "operator" or "gateway". */}}
{{- define "torpor.pod" -}}
{{- $root := first . -}}{{- $part := last . -}}{{- $values := get $root.Values $part -}}
serviceAccountName: {{ include (printf "torpor.%s.serviceAccount" $part) $root }}
automountServiceAccountToken: true
enableServiceLinks: false
{{- with concat $root.Values.global.imagePullSecrets $root.Values.imagePullSecrets | uniq }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
securityContext:
  {{- toYaml $values.podSecurityContext | nindent 2 }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
{{- $own := dict "matchLabels" (include "torpor.selector" (list $root $part) | fromYaml) }}
{{- $entry := hasKey . "labelSelector" | ternary . (set (deepCopy .) "labelSelector" $own) }}
- {{ $entry | toYaml | nindent 2 | trim }}
{{- end }}
{{- end }}
volumes:
- name: demand-token
  secret:
    secretName: {{ include "torpor.demandTokenSecret" $root }}
    items:
    - key: {{ $root.Values.demandToken.key }}
      path: token
{{- if and (eq $part "gateway") $root.Values.gateway.apiKeys.secretName }}
- name: api-keys
  secret:
    secretName: {{ $root.Values.gateway.apiKeys.secretName }}
{{- end }}
{{- if and (eq $part "gateway") $root.Values.gateway.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "torpor.gateway.tlsSecret" $root }}
    items:
    - key: tls.crt
      path: tls.crt
    - key: tls.key
      path: tls.key
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- end -}}

{{/* Fields of the one container. Argument: (list root part env), env being the chart's own variables as YAML. */}}
{{- define "torpor.container" -}}
{{- $root := index . 0 -}}{{- $part := index . 1 -}}{{- $values := get $root.Values $part -}}
{{- $env := index . 2 | fromYamlArray -}}
{{- $names := list -}}
{{- range $env }}{{- $names = append $names .name -}}{{- end -}}
{{- range $values.extraEnv -}}
{{- if has .name $names -}}
{{- fail (printf "%s.extraEnv: %s is set by the chart and may not be given twice; use the value of the chart that stands for it" $part .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
name: {{ $part }}
image: {{ include "torpor.image" (list $root $values.image) }}
imagePullPolicy: {{ $values.image.pullPolicy }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
env:
{{- toYaml (concat $env $values.extraEnv) | nindent 0 }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
# Slow starts are the startup probe's business, so that the liveness probe can be short.
startupProbe:
  httpGet:
    path: /healthz
    port: admin
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /healthz
    port: admin
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 3
  timeoutSeconds: 3
  failureThreshold: 2
volumeMounts:
- name: demand-token
  mountPath: /var/run/torpor/demand
  readOnly: true
{{- if and (eq $part "gateway") $root.Values.gateway.apiKeys.secretName }}
- name: api-keys
  mountPath: /var/run/torpor/api-keys
  readOnly: true
{{- end }}
{{- if and (eq $part "gateway") $root.Values.gateway.tls.enabled }}
- name: tls
  mountPath: /var/run/torpor/tls
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
{{- end -}}

{{/* host:port to listen on. Argument: (list root port). An IPv6 address wears brackets. */}}
{{- define "torpor.listen" -}}
{{- $address := (first .).Values.listenAddress -}}
{{ ternary (printf "[%s]" $address) $address (contains ":" $address) }}:{{ last . }}
{{- end -}}

{{/* Labels of the pods of one part. Argument: (list root part). */}}
{{- define "torpor.podLabels" -}}
{{- $root := first . -}}{{- $part := last . -}}
{{- merge (include "torpor.selector" . | fromYaml) (include "torpor.labels" . | fromYaml) (get $root.Values $part).podLabels | toYaml -}}
{{- end -}}

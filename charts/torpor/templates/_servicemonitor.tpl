{{/* Argument: (list root part). */}}
{{- define "torpor.serviceMonitor" -}}
{{- $root := first . -}}{{- $part := last . -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include (printf "torpor.%s.name" $part) $root }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- merge (include "torpor.labels" . | fromYaml) $root.Values.serviceMonitor.labels | toYaml | nindent 4 }}
spec:
  namespaceSelector:
    matchNames:
    - {{ $root.Release.Namespace }}
  selector:
    matchLabels:
      {{- include "torpor.selector" . | nindent 6 }}
      torpor.dev/metrics: "true"
  endpoints:
  - port: metrics
    path: /metrics
    interval: {{ $root.Values.serviceMonitor.interval }}
    scrapeTimeout: {{ $root.Values.serviceMonitor.scrapeTimeout }}
    # The series carry the fleet's namespace, which must not be renamed to exported_namespace.
    honorLabels: true
{{- end -}}

{{/* Service for Prometheus. Argument: (list root part). */}}
{{- define "torpor.metricsService" -}}
{{- $root := first . -}}{{- $part := last . -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include (printf "torpor.%s.name" $part) $root }}-metrics
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "torpor.labels" . | nindent 4 }}
    torpor.dev/metrics: "true"
spec:
  # Headless: a scraper wants each pod, never one of them.
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "torpor.selector" . | nindent 4 }}
  ports:
  - name: metrics
    port: 9090
    targetPort: admin
    protocol: TCP
{{- end -}}

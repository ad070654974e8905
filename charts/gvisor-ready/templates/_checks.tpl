{{/* Fails with an explanation for conflicting values. */}}
{{- define "gvisor-ready.checks" -}}
{{- with .Values.enforce }}
{{- if and (or .audit .inject .bindings) (not .enabled) }}
{{- fail "enforce.audit, enforce.bindings and enforce.inject need enforce.enabled=true: they change what it does." }}
{{- end }}
{{- end }}
{{- if and .Values.monitoring.kubeStateMetrics (not .Values.monitoring.agents) }}
{{- fail "monitoring.kubeStateMetrics needs monitoring.agents=true: its alerts compare the API's view with the agents'." }}
{{- end }}
{{- if and .Values.monitoring.fleet (not .Values.fleet.enabled) }}
{{- fail "monitoring.fleet needs fleet.enabled=true: there is nothing else to monitor." }}
{{- end }}
{{- end }}

{{/* Fails with an explanation for conflicting values. */}}
{{- define "gvisor-ready.checks" -}}
{{- with .Values.enforce }}
{{- if and (or .audit .inject .bindings) (not .enabled) }}
{{- fail "enforce.audit, enforce.bindings and enforce.inject need enforce.enabled=true: they change what it does." }}
{{- end }}
{{- end }}
{{- end }}

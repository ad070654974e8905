{{/* Fails with an explanation for conflicting values. */}}
{{- define "gvisor-ready.checks" -}}
{{- with .Values.enforce }}
{{- if and (or .audit .inject .bindings) (not .enabled) }}
{{- fail "enforce.audit, enforce.bindings and enforce.inject need enforce.enabled=true: they change what it does." }}
{{- end }}
{{- end }}
{{- if and .Values.image.tag .Values.image.digest }}
{{- fail "image.tag has no effect beside image.digest, which a released chart sets: set image.digest to that of the tag, or to \"\"." }}
{{- end }}
{{- if and .Values.canary.enabled (not .Values.canary.image) }}
{{- fail "canary.enabled needs canary.image: an image with sh and sleep, such as that of your pods." }}
{{- end }}
{{- $additional := include "gvisor-ready.additional-handlers" . | fromJsonArray }}
{{- range $handler := keys .Values.runtimeClass.additional | sortAlpha }}
{{- if not (has $handler $additional) }}
{{- fail (printf "runtimeClass.additional names the handler %q, which settings.HANDLERS (%q) does not name after its first." $handler $.Values.settings.HANDLERS) }}
{{- end }}
{{- end }}
{{- $bounds := .Files.Get "files/bounds.json" | default "{}" | fromJson }}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 }}
{{- range $path, $settings := dict "settings" .Values.settings "fleet.settings" .Values.fleet.settings }}
{{- range $name, $bound := get $bounds $path | default dict }}
{{- with get $settings $name }}
{{- $ms := mulf (regexFind "^[0-9.]+" .) (get $units (regexFind "[a-z]+$" .)) }}
{{- if or (lt $ms (first $bound)) (gt $ms (last $bound)) }}
{{- fail (printf "%s.%s=%q is not between %v s and %v s." $path $name . (divf (first $bound) 1000) (divf (last $bound) 1000)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

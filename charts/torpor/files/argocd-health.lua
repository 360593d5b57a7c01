-- The health of an InferenceService for Argo CD, which knows no custom resource by itself. It goes into the ConfigMap
-- argocd-cm under resource.customizations.health.serving.torpor.dev_InferenceService; docs/guides/gitops.md has that patch.
--
-- Healthy: what the spec asks for is carried out. A fleet that sleeps, or is closed by its schedule, is healthy.
-- Progressing: no operator has looked at the newest spec, no replica answers yet, or replicas are replaced.
-- Suspended: the spec itself keeps the fleet at zero and requests are refused, by scaling.mode or scaling.replicas.
-- Degraded: somebody has to change something; the message says what.
-- There is no string library in the sandbox, and none is needed.
local status = obj.status or {}
local found = {}
for _, condition in ipairs(status.conditions or {}) do
  found[condition.type] = condition
end
local ready, reconciling, stalled = found.Ready, found.Reconciling, found.Stalled

local function is(condition, value)
  return condition ~= nil and condition.status == value
end

local function told(condition)
  if condition.message == nil or condition.message == "" then
    return condition.reason
  end
  return condition.reason .. ": " .. condition.message
end

if ready == nil or (status.observedGeneration or 0) < (obj.metadata.generation or 0) then
  return { status = "Progressing", message = "waiting for Torpor's operator to look at this version" }
end
if is(stalled, "True") then
  return { status = "Degraded", message = told(stalled) }
end
if is(reconciling, "True") then
  return { status = "Progressing", message = told(reconciling) }
end
if is(ready, "True") then
  return { status = "Healthy", message = told(ready) }
end
local wanted = { Paused = true, Recommend = true, ScaledToZeroExternally = true }
if wanted[ready.reason] then
  return { status = "Suspended", message = told(ready) }
end
return { status = "Degraded", message = told(ready) }

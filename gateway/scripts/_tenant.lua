-- Tell whose a reply is, by what was written beside its turn; `-` when nothing readable says so.
local function tenant_of(meta) return string.match(meta, '^%["(%x+)"') or '-' end

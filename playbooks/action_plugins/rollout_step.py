"""Run one step of the library on a host: `rollout_step: {do: swap}`. Options of the step go in `with`."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from rollout.errors import RolloutError
from rollout.road import steps  # noqa: F401  (they register themselves; imported once, here)
from rollout.road.command import die_with_parent
from rollout.road.context import Request, run


class ActionModule(ActionBase):
    """The glue; what a step does is in rollout.road."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the step; a refusal or failure is the task's."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        die_with_parent()
        _, arguments = self.validate_argument_spec(
            {"do": {"type": "str", "required": True}, "options": {"type": "dict", "default": {}}}
        )
        request = Request(**task_vars["rollout_request"])
        try:
            facts = run(
                request, arguments["do"], task_vars["inventory_hostname"], self._task.name, arguments["options"]
            )
        except RolloutError as error:
            raise AnsibleActionFail(str(error), result=result | error.to_dict()) from error
        return result | {"changed": bool(facts.get("changed", True)), "say": facts.get("say", "")}

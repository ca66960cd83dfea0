"""What was made of a step, as text: its block, its reverse, where the values lie, the kernels of a GPU."""

from __future__ import annotations

from collections.abc import Sequence

from .ir import Instr, Ref, replaced
from .lower.c import NotLowerable
from .passes.groups import Group
from .passes.hoist import hoisted
from .passes.place import Memory
from .reverse import Reverse, Term, reverse
from .steps import StepPlan
from .trace import Traced


class Named(Ref):
    """A value that prints as its name."""

    __slots__ = ("name",)

    def __init__(self, name: str, r: Ref) -> None:
        super().__init__(r.id, r.type)
        self.name = name

    def __repr__(self) -> str:
        return self.name


class Explanation:
    """A traced step, of these inputs, states and constants by name. Other values are numbered."""

    def __init__(
        self, traced: Traced, inputs: Sequence[str], states: Sequence[str], constants: Sequence[str]
    ) -> None:
        block = traced.block
        self.states, self.n_outputs = states, len(block.results) - len(states)
        self.parts = hoisted(block, len(inputs))
        self.names: dict[Ref, Named] = {}
        self._n_numbered = 0
        self._name((*block.params, *block.constants), (*inputs, *states, *constants))
        outputs = ["output", *(f"output {k}" for k in range(2, self.n_outputs + 1))]
        self.results = [*outputs[: self.n_outputs], *(f"new {s}" for s in states)]

    def text(self, what: str) -> str:
        """ "step", "reverse" or "cuda"."""
        return {"step": self._step, "reverse": self._reverse, "c": self._c, "cuda": self._cuda}[what]()

    def _plan(self, language: str) -> StepPlan:
        """Where everything that can have a gradient needs one."""
        step = self.parts.step
        n_inputs = len(step.params) - len(self.states)
        needs = (True,) * (len(step.params) + len(step.constants))
        return StepPlan(step, n_inputs, self.n_outputs, needs, language)

    # ------------------------------------------------------------ the parts

    def _step(self) -> str:
        plan, parts, lines = self._plan("python"), self.parts, []
        still = [*parts.fixed.instructions, *parts.sized.instructions]
        if still:
            lines += ["before the loop, of what is the same at every step:", *map(self._line, still)]
        if parts.inputs.instructions:
            lines += ["before the loop, for all steps at once:", *map(self._line, parts.inputs.instructions)]
        lines += ["at each step:"]
        where = _Where(plan)
        lines += [self._line(i, where(i)) for i in plan.block.instructions]
        lines += [
            f"  {name} = {self._text(r)}" for name, r in zip(self.results, plan.block.results, strict=True)
        ]
        saved = ", ".join(self._text(r) for r in plan.saved)
        return "\n".join([*lines, f"saved of all steps, for the way back: {saved}"])

    def _reverse(self) -> str:
        plan = self._plan("python")
        self._step()  # what the values are called there
        rev = plan.reverse((True,) * self.n_outputs, ())
        active = [s for s, is_active in zip(self.states, plan.active, strict=True) if is_active]
        lines = ["at each step, from the last to the first:"]
        lines += self._instructions(rev, [f"d_{name}" for name in (*self.results[: self.n_outputs], *active)])
        found = zip(plan.wanted, rev.block.results, strict=False)
        lines += [f"  gradient of {self._text(r)} = {self._text(g)}" for r, g in found]
        lines += ["after all steps, for the rows of all of them at once:"]
        lines += [f"  gradient of {self._text(t.constant)} = {self._sum(t)}" for t in rev.terms]
        first = self.parts.inputs
        seeded = [r for r in first.results if r in first.makers() and r.dtype.kind == "f"]
        floats = [[r for r in refs if r.dtype.kind == "f"] for refs in (first.params, first.constants)]
        rev = reverse(first, seeded, *floats)
        lines += self._instructions(rev, [f"d_{self._text(r)}" for r in seeded])
        found = zip(floats[0], rev.gradients, strict=True)
        lines += [f"  gradient of {self._text(r)} = {self._text(g)}" for r, g in found if g is not None]
        lines += [f"  gradient of {self._text(t.constant)} = {self._sum(t)}" for t in rev.terms]
        return "\n".join(lines)

    def _instructions(self, rev: Reverse, seeds: Sequence[str]) -> list[str]:
        """Those of a reverse from the gradients of these names; what it reads is called as in the forward."""
        self._name(rev.block.params[: len(seeds)], seeds)
        read = zip(rev.block.params[len(seeds) :], rev.saved, strict=True)
        for p, r in (*read, *zip(rev.block.constants, rev.constants, strict=True)):
            if type(r) is Ref:
                self._text(r)
                self.names[p] = self.names[r]
        return [self._line(i) for i in rev.block.instructions]

    def _sum(self, term: Term) -> str:
        fields = [self._text(f) for f in term.fields]
        return term.kind.formula.format(*fields) if term.kind else f"the sum of the rows of {fields[0]}"

    def _c(self) -> str:
        try:
            plan = self._plan("c")
        except NotLowerable as reason:
            return f"runs by NumPy: {reason}"
        loops = [plan.native, plan.backward((True,) * self.n_outputs).native]
        return "\n".join(loop.source.partition("/* the loop */\n")[2] for loop in loops if loop is not None)

    def _cuda(self) -> str:
        from .lower.cuda import Launcher

        plan, texts = self._plan("cuda"), []
        for block in (plan.placed_block, plan.backward((True,) * self.n_outputs).block):
            groups = [i.op.block for i in block.instructions if isinstance(i.op, Group)]
            texts += [Launcher("group", group).source for group in groups]
        return "\n\n".join(texts)

    # ------------------------------------------------------------ names

    def _name(self, refs: Sequence[Ref], names: Sequence[str]) -> None:
        self.names.update({r: Named(name, r) for r, name in zip(refs, names, strict=True)})

    def _text(self, r: Ref | None) -> str:
        if r is None:
            return "0"
        if r not in self.names:
            self._n_numbered += 1
            self.names[r] = Named(f"%{self._n_numbered}", r)
        return self.names[r].name

    def _line(self, instr: Instr, note: str = "") -> str:
        for r in (*instr.reads(), *instr.outs):
            self._text(r)
        return f"  {replaced(instr, self.names)}{note and f'    # {note}'}"  # type: ignore[arg-type]


class _Where:
    """Where the results of an instruction lie, in words; memories of a kind are numbered."""

    def __init__(self, plan: StepPlan) -> None:
        self.places, self.known = plan.placement.places, dict[Memory, int]()

    def __call__(self, instr: Instr) -> str:
        found = []
        for out in instr.outs:
            place = self.places.get(out)
            if place is not None and place.memory.kind in ("steps", "scratch"):
                own = [m for m in self.known if m.kind == place.memory.kind]
                number = self.known.setdefault(place.memory, len(own) + 1)
                kind = "all steps" if place.memory.kind == "steps" else "scratch"
                found.append(f"{kind} {number}{'[..]' if place.views else ''}")
        return ", ".join(dict.fromkeys(found))

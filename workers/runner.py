"""The run pipeline: prepare, call, decide, settle. Claimed runs come in; each leaves settled, or taken by another.

Read ``Runner.run`` first; the functions follow in the order in which they are called.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from app import lifecycle, metrics, states
from app.concern import attempt_of, concern
from app.counting import counted
from app.db import Row
from app.errors import InvalidTaskInput
from app.leases import Claim
from app.lifecycle import Recorded
from app.models import TaskLogLevel
from app.registry import Continue, Definition, Registry
from app.retry import decide_retry, errors_in
from app.settings import Settings
from app.states import Move, Reason, RunError
from workers import capture, forks, json_values
from workers.clockwork import Clockwork
from workers.context import TaskContext
from workers.faults import error_of
from workers.held import HeldRun, Stop, StopReason
from workers.hooks import Hooks
from workers.owed import Owed
from workers.processes import Leashes
from workers.recorder import Recorder
from workers.term import Term
from workers.threads import Bridge, call_plain

logger = logging.getLogger("taskloom.runner")

_NOT_ASKED = (
    "The code raised Stop ({}), but nobody asked this run to stop. Each attempt has a context of its own: use the one "
    "that it is given, and not the context of another attempt."
)


class Attempt(NamedTuple):
    """What the pipeline hands from step to step."""

    held: HeldRun
    definition: Definition
    context: TaskContext


class Runner:
    """Executes claimed runs on the event loop; one for each worker process."""

    def __init__(
        self, registry: Registry, recorder: Recorder, service: Any, settings: Settings, clockwork: Clockwork
    ) -> None:
        self._registry = registry
        self._recorder = recorder
        self._service = service
        self._settings = settings
        self._clockwork = clockwork
        self._bridge = Bridge()
        self.owed = Owed()
        self._hooks = Hooks(self.owed, settings.hook_seconds)
        self.term = Term()
        self.leashes = Leashes(self.term)
        self.running: dict[UUID, HeldRun] = {}
        self.executing = 0
        self.lost_seconds = 0.0
        """For how long, in all, the event loop has stood still: runs that waited for it get this time back."""
        self.room = asyncio.Event()
        self.has_overlooked = False
        """Whether there are due runs for this worker whose rings never come. May be set by any thread."""

    @property
    def free(self) -> int:
        """How many more runs may be taken on: none while the lease is over, because no claim would bring any.

        A run has its slot until its code has ended: while its settlement is on its way, the next one has it already.
        That as many may be on their way as there are slots bounds what is held while PostgreSQL is slow.
        """
        if self.term.is_over:
            return 0
        slots = self._settings.concurrency
        return min(slots - self.executing, 2 * slots - len(self.running))

    @property
    def claims(self) -> dict[UUID, int]:
        """The claims under which runs are executed (``run_id: claim_no``). May be asked by any thread."""
        return {held.run_id: held.claim_no for held in tuple(self.running.values())}

    @property
    def timed(self) -> dict[UUID, int]:
        """Those of the claims whose runs have a timeout. May be asked by any thread."""
        return {held.run_id: held.claim_no for held in tuple(self.running.values()) if held.timeout is not None}

    def start_claimed(self, rows: Sequence[Row], asked: float) -> list[asyncio.Task[None]]:
        """Execute what a claim has brought that was asked at ``asked``, a time of the monotonic clock.

        Where its answer is read too late, others may have the runs by now, because the lease was over or they counted
        as disowned: their code is not called, and those that are still ours are given back.

        What is executed already goes on as it is, where the reply to its claim was lost: it may be an earlier claim's.
        """
        waited = time.monotonic() - asked
        is_late = waited > lifecycle.DISOWNED_SECONDS / 2 or not self.term.covers(asked)
        if is_late and rows:
            logger.warning(
                "A claim was answered too late, after %.1f s: %s given back.", waited, counted(len(rows), "run")
            )
        return [self.start(row, give_back=is_late) for row in rows if not self._executes(row)]

    def _executes(self, row: Row) -> bool:
        # A reply that was read is a claim of now, also of a number that PostgreSQL forgot in a failover. Only one that
        # was lost does not tell how long the run had waited.
        held = self.running.get(row["id"])
        return held is not None and held.claim_no == row["claim_no"] and row.get("waited") is None

    def start(self, row: Row, *, give_back: bool = False) -> asyncio.Task[None]:
        """Execute a claimed run in a task of its own, or give it back without calling its code."""
        held = HeldRun(row)
        if give_back:
            held.ask_release()
        # Whatever is executed under an older claim is not ours any more, unless it has ended and is being settled.
        if older := self.running.get(held.run_id):
            older.cancel(StopReason.LOST)
        self.running[held.run_id] = held
        self.executing += 1
        held.task = asyncio.create_task(self.run(held))
        return held.task

    async def run(self, held: HeldRun) -> None:
        """One attempt at one iteration, from the claim to the settlement."""
        began = self._clockwork.monotonic()
        concern.set(attempt_of(held.run_id, held.row["definition_id"], held.iteration, held.attempt))
        try:
            attempt = self._prepare(held)
            try:
                move = await self._execute(attempt)
            except GeneratorExit as error:
                # Where the code raised it, Python has closed all coroutines below this one.
                if held.is_torn_down:
                    raise
                move = await self._failed(attempt, error, Reason.ERROR)
            except Exception as error:
                # Something of theirs breaks what decides about it, and would do so again wherever the run is executed.
                move = states.fail(error_of(error), Reason.ERROR)
            await held.end_children()
            self._vacate(held)
            if move is not None:
                await self._settle(attempt, move)
        except (Exception, asyncio.CancelledError):
            # Only a fault of Taskloom itself gets here; the lease gives the run to another worker.
            logger.exception("Run %s could not be settled.", held.run_id)
        finally:
            metrics.ATTEMPT.observe(held.row["definition_id"], self._clockwork.monotonic() - began)
            held.is_closed = True
            # The task knows the run, so that the run must not keep the task for the garbage collector to find.
            held.task = None
            if self.running.get(held.run_id) is held:
                del self.running[held.run_id]
            self._vacate(held)
            self.room.set()

    def _vacate(self, held: HeldRun) -> None:
        if held.has_slot:
            held.has_slot = False
            self.executing -= 1
            self.room.set()

    def _prepare(self, held: HeldRun) -> Attempt:
        definition = self._registry.get(held.row["definition_id"])
        if definition is None:
            raise LookupError(f"'{held.row['definition_id']}' was claimed without its code")
        context = TaskContext(
            held, self._recorder, self._service, self._settings, self._bridge, self._clockwork, self.leashes
        )
        return Attempt(held, definition, context)

    async def _execute(self, attempt: Attempt) -> Move | None:
        """The move that follows from executing the code; None when the run is not ours any more."""
        try:
            input = attempt.definition.parse_input(attempt.held.row["input"] or "null")
        except InvalidTaskInput as error:
            return await self._failed(attempt, error, Reason.INVALID_INPUT)
        except BaseException as error:
            # A validator of theirs that raises something else.
            return await self._failed(attempt, error, Reason.ERROR)
        try:
            result = await self._call_code(attempt, input)
        except (Stop, BaseExceptionGroup) as error:
            return await self._raised(attempt, error)
        except asyncio.CancelledError as error:
            if attempt.held.stop is None:
                return await self._failed(attempt, error, Reason.ERROR)
            return await self._stopped(attempt, attempt.held.stop)
        except GeneratorExit:
            raise
        except BaseException as error:
            return await self._failed(attempt, error, Reason.ERROR)
        return await self._returned(attempt, result)

    async def _call_code(self, attempt: Attempt, input: Any) -> Any:
        """Call the task function, bounded by its timeout; the only part of the pipeline that may be cancelled."""
        held, definition, context = attempt
        arguments = (context,) if definition.input_type is None else (context, input)
        self._start_timer(held)
        capture.current.set(context)
        held.enter_code()
        try:
            context.raise_if_stopped()
            if definition.is_async:
                return await definition.function(*arguments)
            return await call_plain(definition.function, *arguments)
        finally:
            forks.end_if_forked()
            if held.timer is not None:
                # Before all else: processes may take until after the timeout to end, and the code has been in time.
                held.timer.cancel()
            await held.leave_code()
            await held.end_children()

    def _start_timer(self, held: HeldRun) -> None:
        if held.timeout is not None:
            self._limit(held, held.timeout)

    def _limit(self, held: HeldRun, seconds: float) -> None:
        held.timer = asyncio.get_running_loop().call_later(seconds, self._time_out, held, self.lost_seconds)

    def _time_out(self, held: HeldRun, lost_before: float) -> None:
        """Stop a run whose time is over, unless it lost some of it to another one that blocked the event loop."""
        lost = self.lost_seconds - lost_before
        if lost > 0 and not held.has_blocked:
            self._limit(held, lost)
        else:
            held.cancel(StopReason.TIMEOUT)

    # What follows from how the code ended.

    async def _raised(self, attempt: Attempt, error: BaseException) -> Move | None:
        """A stop counts inside a group as well: an ``asyncio.TaskGroup`` wraps what its tasks raise."""
        stop = _stop_in(error)
        if stop is None:
            return await self._failed(attempt, error, Reason.ERROR)
        if attempt.held.stop is None:
            return await self._failed(attempt, RuntimeError(_NOT_ASKED.format(stop)), Reason.ERROR)
        return await self._stopped(attempt, stop.reason)

    async def _returned(self, attempt: Attempt, result: Any) -> Move | None:
        if isinstance(result, Continue):
            return await self._continued(attempt, result)
        definition = attempt.definition
        try:
            output = json_values.encode(result, "output", self._settings.max_output_bytes, definition.output_adapter)
        except json_values.NotStorable as error:
            return await self._failed(attempt, error, Reason.INVALID_OUTPUT)
        await self._hooks.call(attempt.held, attempt.context, "on_done", definition.on_done, result)
        return states.succeed(output)

    async def _continued(self, attempt: Attempt, result: Continue) -> Move | None:
        held, definition, context = attempt
        if held.stop is not None and held.stop is not StopReason.SHUTDOWN:
            return await self._stopped(attempt, held.stop)
        if context.iteration >= context.max_iterations:
            await self._hooks.call(held, context, "on_max_iterations", definition.on_max_iterations)
            return states.fail(_too_many_iterations(context.max_iterations), Reason.MAX_ITERATIONS)
        if result.state is not None:
            try:
                held.save(json_values.encode(result.state, "state", self._settings.max_state_bytes), None)
            except json_values.NotStorable as error:
                return await self._failed(attempt, error, Reason.ERROR)
        if result.wait_for:
            return states.wait(result.wait_for, result.failure_policy)
        return states.continue_(result.delay)

    async def _stopped(self, attempt: Attempt, reason: StopReason) -> Move | None:
        if reason is StopReason.LOST:
            return None
        if reason is StopReason.SHUTDOWN:
            return states.interrupt()
        if reason is StopReason.TIMEOUT:
            timeout = counted(attempt.held.timeout or 0, "second")
            error = TimeoutError(f"The attempt ran longer than its timeout of {timeout}.")
            return await self._failed(attempt, error, Reason.TIMEOUT)
        await self._hooks.call(attempt.held, attempt.context, "on_abort", attempt.definition.on_abort)
        return states.force_abort() if reason is StopReason.FORCED else states.acknowledge_abort()

    async def _failed(self, attempt: Attempt, error: BaseException, reason: Reason) -> Move:
        held, definition, context = attempt
        stored = error_of(error)
        if reason in (Reason.INVALID_INPUT, Reason.INVALID_OUTPUT):
            move = states.fail(stored, reason)
        else:
            policy = definition.retry.with_delays(held.row["retry"])
            move = decide_retry(policy, held.attempt, context.max_attempts, error, stored, reason)
        if move.is_final:
            await self._hooks.call(held, context, "on_error", definition.on_error, error)
        return move

    # The settlement.

    async def _settle(self, attempt: Attempt, move: Move) -> None:
        held = attempt.held
        attempt.context.log.collect_lines()
        held.settle(move)
        try:
            recorded = await self._recorder.submit(held)
        except Exception as error:
            recorded = await self._settle_without_contents(held, error)
        if not recorded.accepted:
            logger.info("Run %s: somebody else decided about it meanwhile (%s).", held.run_id, move.name)

    async def _settle_without_contents(self, held: HeldRun, error: Exception) -> Recorded:
        """PostgreSQL refuses something that the run wrote: it fails with that, so that it is not tried for ever."""
        logger.warning("Run %s: PostgreSQL refuses what it wrote: %s", held.run_id, error)
        held.drop_writes()
        held.settle(states.fail(RunError(type(error).__name__, str(error)), Reason.ERROR))
        return await self._recorder.submit(held)

    # From outside.

    def ask_aborts(self, asked: dict[UUID, bool]) -> None:
        """Tell runs that an abort was asked (by force or not); a grace time later it is enforced."""
        loop = asyncio.get_running_loop()
        for run_id, forced in asked.items():
            held = self.running.get(run_id)
            if held is None:
                continue
            held.ask_abort(forced=forced)
            if held.grace is None:
                held.grace = loop.call_later(self._settings.abort_grace_seconds, held.cancel, StopReason.FORCED)

    def end_processes_of(self, asked: dict[UUID, bool]) -> None:
        """End the processes of runs that were asked to abort, also while the event loop is stuck. For other threads."""
        for held in tuple(self.running.values()):
            if held.run_id in asked and held.has_children:
                # First, so that the code learns of the abort before it learns that its process has ended.
                self._bridge.call(self.ask_aborts, {held.run_id: asked[held.run_id]})
                held.let_children_go()

    def warn(self, run_id: UUID, message: str) -> None:
        """Write a warning into a run's log, if it is still executed here."""
        if held := self.running.get(run_id):
            held.add_line((TaskLogLevel.WARNING, message, None, self._clockwork.now()))
            self._recorder.submit(held)

    def ask_release(self) -> None:
        """Ask all runs to stop at their next checkpoint, because the worker shuts down."""
        for held in tuple(self.running.values()):
            held.ask_release()

    def release(self) -> None:
        """Stop all runs now and give them back."""
        for held in tuple(self.running.values()):
            held.cancel(StopReason.SHUTDOWN)

    def lose(self, claims: Sequence[Claim]) -> None:
        """Stop what is executed under claims that are over. May be called by any thread."""
        if claims:
            self._bridge.call(self._lose, claims)

    def _lose(self, claims: Sequence[Claim]) -> None:
        for run_id, claim_no in claims:
            held = self.running.get(run_id)
            # Once only, so that it does not disturb the code that cleans up.
            if held and held.claim_no == claim_no and held.task and not held.task.cancelling():
                held.cancel(StopReason.LOST)

    async def until_idle(self) -> None:
        """Return when no run is executed any more."""
        while self.running:
            tasks = [held.task for held in self.running.values() if held.task is not None]
            await asyncio.gather(*tasks, return_exceptions=True)


def _stop_in(error: BaseException) -> Stop | None:
    """The stop that an error is, or one of those in a group of errors, or None."""
    return next((one for one in errors_in(error) if isinstance(one, Stop)), None)


def _too_many_iterations(limit: int) -> RunError:
    return RunError(
        "MaxIterations",
        f"The run asked to continue after {counted(limit, 'iteration')}, its limit. "
        "Raise max_iterations, or do more in each.",
    )

"""Recovery's part of `CELERIAC`: typed, with defaults, read when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass

from execution import conf


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(conf.Section):
    """What `CELERIAC = {...}` may hold for recovery."""

    model: str = ""
    """A language model, as `provider:name`; empty: everything is decided by rules."""
    model_base_url: str = ""
    """Where the model is served, when it is not at its provider's own address."""
    model_key_env: str = "CELERIAC_MODEL_KEY"
    """The environment variable that holds the model's key."""
    model_timeout_seconds: float = 30.0
    model_daily_budget: float = 5.0
    """What may be spent on the model in a day (UTC), in the ledger's currency."""
    model_input_price: float = -1.0
    """What a million tokens of a question cost; below zero: what the extra's price list says."""
    model_output_price: float = -1.0
    """What a million tokens of an answer cost; below zero: what the extra's price list says."""

    failure_days: float = 90.0
    """How long failures are kept; patterns stay."""
    aggregation_days: float = 7.0
    """How far back the nightly aggregation looks for failures that no pattern knows."""
    aggregation_least: int = 3
    """Of how many failures a group must be made to be proposed as a pattern."""
    pattern_half_life_days: float = 30.0
    """How long until a pattern's confirmations count half."""

    exports: str = ""
    """The name of the storage in `STORAGES` that exports go to; empty: a local folder."""
    exports_folder: str = ""
    """The folder on this host in which exports are kept; empty: `.celeriac/exports` where the process was started."""
    exports_kept_days: float = 30.0
    """How long the bytes of an export stay on this host after they were uploaded."""

    candidate_lease_seconds: int = 300
    """How long a claimed candidate may go without an evaluation."""
    auto_apply_bound: float = 0.8
    """The least Wilson lower bound (one-sided, 95 %) of what is applied without asking."""
    auto_per_run: int = 3
    """How many recoveries a run may have without a person."""
    auto_cost_per_run: float = 10.0
    """What the recoveries of one run may cost without a person, in the ledger's currency."""
    auto_hours_per_run: float = 24.0
    """For how long after its first failure a run is recovered without a person."""
    relapse_hours: float = 24.0
    """A failure that comes back so soon after a recovery says that it was none."""

    stream_most: int = 100_000
    """Entries that the stream keeps, about."""
    stream_idle_seconds: float = 60.0
    """How long a consumer may hold an entry before another takes it."""
    stream_tries: int = 5
    """How often an entry is delivered before it is a dead letter."""
    dead_letter_days: float = 30.0
    """How long dead letters are kept after they were replayed or dismissed."""

    webhook_timeout_seconds: float = 30.0
    """How long one try to deliver may take, from the look-up of the address to the end of the answer."""
    webhook_concurrency: int = 32
    """Deliveries under way at once; those that take longer than a quarter of a second do not count."""
    webhook_per_endpoint: int = 8
    """Deliveries under way at once to one endpoint; to one whose last try has failed there is one at a time."""
    webhook_lock_seconds: float = 15.0
    """How long a silent leader keeps the outbox's lock."""
    webhook_private_addresses: bool = False
    """Whether webhooks may go to private, loopback and link-local addresses."""
    webhook_days: float = 30.0
    """How long delivered messages and their attempts are kept."""
    handler_seconds: float = 30.0
    """How long a handler of an event may take."""
    handler_tries: int = 5
    """How often a handler is given an event before that is a dead letter."""
    handler_days: float = 7.0
    """How long what was handled is kept."""

    correlation_gap_seconds: float = 60.0
    correlation_most_seconds: float = 900.0
    correlation_late_seconds: float = 30.0
    correlation_hops: int = 2
    """How far two services may be apart in the topology to belong together."""
    suspect_minutes: float = 30.0
    """How long before a window a change may be its cause."""
    incident_step_seconds: float = 90.0
    """How long a step of an incident may take."""
    incident_least: str = "high"
    """The severity from which on a snapshot opens an incident: low, high or critical."""
    incident_failures: int = 5
    """So many failed runs in one window are of high severity, whatever each of them is."""
    incident_watch_seconds: float = 60.0
    """How long is watched after a remediation, before it is verified."""
    divergence_hours: float = 1.0
    """Over how long the calls of a service are compared with its contract."""
    drift_days: float = 30.0
    """What was not seen for so long counts as not observed."""


current = conf.reader(Settings)
"""Return the settings in force."""

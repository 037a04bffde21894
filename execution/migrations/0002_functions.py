"""The log, the functions of the hot path and the views, with the storage that a busy ledger wants."""

from django.db import migrations

from execution.sql import create

# Rows of the hot path are updated in place two or three times: leave room on their pages, and vacuum early.
HOT = """
ALTER TABLE execution_run SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE execution_step SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
                                autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE execution_attempt SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE execution_timer SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE execution_errand SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500);
ALTER TABLE execution_cyclestate SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);
ALTER TABLE execution_job SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);
ALTER TABLE execution_joblane SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);
ALTER TABLE execution_jobitem SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1);
ALTER TABLE execution_worker SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);
"""

# Values are packed before they are sent: the server need not try again.
PACKED = """
ALTER TABLE execution_run ALTER COLUMN input SET STORAGE EXTERNAL;
ALTER TABLE execution_step ALTER COLUMN input SET STORAGE EXTERNAL, ALTER COLUMN output SET STORAGE EXTERNAL;
ALTER TABLE execution_checkpoint ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE execution_session ALTER COLUMN state SET STORAGE EXTERNAL;
ALTER TABLE execution_sessioncheckpoint ALTER COLUMN state SET STORAGE EXTERNAL;
ALTER TABLE execution_memory ALTER COLUMN value SET STORAGE EXTERNAL;
ALTER TABLE execution_blob ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE execution_jobitem ALTER COLUMN input SET STORAGE EXTERNAL, ALTER COLUMN output SET STORAGE EXTERNAL;
"""


class Migration(migrations.Migration):
    dependencies = [("execution", "0001_ledger")]

    operations = [
        *create("uuid7_v1", "event_v1", "log_v1"),
        *create("share_run_v1", "hold_run_v1", "share_agent_v1", "hold_agent_v1"),
        *create("raise_level_v1", "guard_level_v1"),
        *create("hold_budgets_v1", "grow_v1", "charge_v1", "settle_v1", "reserve_v1", "overdraw_v1"),
        *create(
            "lacks_v1",
            "add_steps_v1",
            "open_graph_v1",
            "session_of_v1",
            "open_v1",
            "window_v1",
            "bury_v1",
            "ring_v1",
            "turn_v1",
            "has_lines_v1",
            "begin_phase_v1",
            "claim_v1",
            "claim_further_v1",
            "claim_next_v1",
            "record_v1",
            "save_v1",
        ),
        *create("free_key_v1", "hold_breaker_v1", "judge_breaker_v1", "owe_parent_v1", "pass_on_v1", "late_v1"),
        *create("end_run_v1", "close_run_v1", "release_v1", "spread_v1", "close_phase_v1"),
        *create("take_items_v1", "record_items_v1", "end_job_v1"),
        *create("fire_chord_v1", "chord_part_v1", "owe_v1", "retarget_v1", "reopen_v1", "conclude_v1"),
        *create("finish_v1", "give_back_v1", "stop_steps_v1"),
        *create("tick_v1", "extend_v1", "sweep_v1", "wake_v1", "expire_v1", "feed_v1", "fold_v1"),
        *create("signal_v1", "take_signal_v1", "call_v1", "tell_parent_v1", "intend_v1", "receipt_v1"),
        *create(
            "active_steps_v1", "pending_timers_v1", "phase_stats_v1", "cleanup_checkpoints_v1", "cleanup_timers_v1"
        ),
        *create("update_session_v1", "keep_memory_v1", "remember_v1", "owe_memory_v1", "recall_v1", "lineage_v1"),
        *create("newer_v1", "enter_record_v1", "immutable_v1", "relatives_v1", "first_id_v1", "forget_v1"),
        migrations.RunSQL(HOT, migrations.RunSQL.noop),
        migrations.RunSQL(PACKED, migrations.RunSQL.noop),
    ]

"""The index's tables, built step by step. Each function runs once per database, in order, in a transaction of its own.

Games are narrow here: their texts stay in the run's files, and a row says where. What the games page filters by is
gathered in `facets`: one row for every combination that occurs in a run, a few hundred for a million games. A page is
read facet by facet, newest first, so no filter ever scans the games.
"""

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

migrations = Migrations("second_opinion")


@migrations()
def runs(db: Database) -> None:
    db.conn.execute(
        """CREATE TABLE runs (
            id TEXT PRIMARY KEY, folder TEXT NOT NULL, name TEXT, preset TEXT, created REAL, config TEXT,
            state TEXT, phase TEXT, step INTEGER, steps INTEGER, start_step INTEGER NOT NULL DEFAULT 0,
            started REAL, ended REAL, exit_code INTEGER, reason TEXT, state_json TEXT
        )"""
    )
    db.conn.execute(
        """CREATE TABLE offsets (
            run TEXT NOT NULL, file TEXT NOT NULL, offset INTEGER NOT NULL, lines INTEGER NOT NULL, state TEXT,
            PRIMARY KEY (run, file)
        ) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE bad_lines (
            run TEXT NOT NULL, file TEXT NOT NULL, offset INTEGER NOT NULL, reason TEXT NOT NULL,
            excerpt TEXT NOT NULL,
            PRIMARY KEY (run, file, offset)
        ) WITHOUT ROWID"""
    )


@migrations()
def trainer_log(db: Database) -> None:
    """A value that is not finite is NULL in `value` and spelled out in `special`: nan, inf or -inf."""
    db.conn.execute(
        """CREATE TABLE metrics (
            run TEXT NOT NULL, name TEXT NOT NULL, step INTEGER NOT NULL, value REAL, special TEXT,
            PRIMARY KEY (run, name, step)
        ) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE progress (
            run TEXT NOT NULL, attempt INTEGER NOT NULL, phase TEXT NOT NULL, step INTEGER, episode INTEGER,
            episodes INTEGER, done INTEGER, total INTEGER,
            PRIMARY KEY (run, attempt)
        ) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE failures (
            run TEXT NOT NULL, attempt INTEGER NOT NULL, offset INTEGER NOT NULL, process TEXT NOT NULL,
            summary TEXT NOT NULL, traceback TEXT NOT NULL,
            PRIMARY KEY (run, attempt, offset)
        ) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE events (
            run TEXT NOT NULL, file TEXT NOT NULL, offset INTEGER NOT NULL, time REAL, kind TEXT NOT NULL,
            level TEXT NOT NULL, text TEXT NOT NULL,
            PRIMARY KEY (run, file, offset)
        ) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE memory (
            run TEXT NOT NULL, offset INTEGER NOT NULL, time REAL NOT NULL, phase TEXT NOT NULL,
            source TEXT NOT NULL, total_mb REAL NOT NULL, policy REAL NOT NULL, reference REAL NOT NULL,
            rollout REAL NOT NULL, judge REAL NOT NULL, ray REAL NOT NULL, other REAL NOT NULL,
            processes TEXT NOT NULL,
            PRIMARY KEY (run, offset)
        ) WITHOUT ROWID"""
    )
    db.conn.execute("CREATE INDEX memory_time ON memory (run, time)")


@migrations()
def games(db: Database) -> None:
    """`games.id` joins the tables and the text search; a game is named by run and game."""
    db.conn.execute(
        """CREATE TABLE facets (
            id INTEGER PRIMARY KEY, run TEXT NOT NULL, mode TEXT NOT NULL, category TEXT NOT NULL,
            outcome TEXT NOT NULL, dropped INTEGER NOT NULL, label TEXT, source TEXT, reason TEXT, refused TEXT,
            games INTEGER NOT NULL
        )"""
    )
    db.conn.execute("CREATE INDEX facets_run ON facets (run)")
    db.conn.execute(
        """CREATE TABLE facet_turns (
            facet INTEGER NOT NULL, seat INTEGER NOT NULL, role TEXT NOT NULL, answer TEXT,
            raw_reward REAL NOT NULL,
            PRIMARY KEY (facet, seat)
        ) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE games (
            id INTEGER PRIMARY KEY, run TEXT NOT NULL, game TEXT NOT NULL, attempt INTEGER NOT NULL,
            mode TEXT NOT NULL, step INTEGER NOT NULL, facet INTEGER NOT NULL REFERENCES facets (id),
            sample TEXT NOT NULL, case_id TEXT NOT NULL, error_type TEXT NOT NULL, opponent TEXT NOT NULL,
            truth TEXT, valid INTEGER NOT NULL, drop_reason TEXT, started REAL NOT NULL, ended REAL NOT NULL,
            excerpt TEXT NOT NULL, file TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL
        )"""
    )
    db.conn.execute("CREATE UNIQUE INDEX games_name ON games (run, game)")
    db.conn.execute("CREATE INDEX games_step ON games (run, mode, step, attempt)")
    db.conn.execute("CREATE INDEX games_facet ON games (facet, step, attempt)")
    db.conn.execute(
        """CREATE TABLE turns (
            game INTEGER NOT NULL REFERENCES games (id), seat INTEGER NOT NULL, role TEXT NOT NULL,
            trained INTEGER NOT NULL, answer TEXT, format_ok INTEGER NOT NULL, format_reason TEXT NOT NULL,
            tokens INTEGER, truncated INTEGER, latency_ms REAL, correct INTEGER,
            raw_reward REAL NOT NULL, baseline REAL NOT NULL, sent_reward REAL NOT NULL,
            PRIMARY KEY (game, seat)
        ) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE verdicts (
            game INTEGER NOT NULL REFERENCES games (id), refused INTEGER NOT NULL, label TEXT, p_harm REAL,
            same_meaning INTEGER, faithful INTEGER, realistic INTEGER, p_realistic REAL, valid INTEGER NOT NULL,
            reason TEXT NOT NULL, source TEXT NOT NULL, latency_ms REAL NOT NULL, judge TEXT NOT NULL,
            PRIMARY KEY (game, refused)
        ) WITHOUT ROWID"""
    )


@migrations()
def per_step(db: Database) -> None:
    """Sums over a step's training games. The category '' stands for all of them."""
    db.conn.execute(
        """CREATE TABLE step_roles (
            run TEXT NOT NULL, category TEXT NOT NULL, role TEXT NOT NULL, step INTEGER NOT NULL,
            turns INTEGER NOT NULL, raw_reward REAL NOT NULL, format_ok INTEGER NOT NULL,
            tokens INTEGER,
            PRIMARY KEY (run, category, role, step)
        ) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE step_games (
            run TEXT NOT NULL, category TEXT NOT NULL, step INTEGER NOT NULL, games INTEGER NOT NULL,
            counted INTEGER NOT NULL, ties INTEGER NOT NULL, attacked INTEGER NOT NULL,
            faithful INTEGER NOT NULL, deceived INTEGER NOT NULL, answers INTEGER NOT NULL,
            correct INTEGER NOT NULL,
            PRIMARY KEY (run, category, step)
        ) WITHOUT ROWID"""
    )


@migrations()
def reviews(db: Database) -> None:
    db.conn.execute(
        """CREATE TABLE reviews (
            run TEXT NOT NULL, game TEXT NOT NULL, reviewer TEXT NOT NULL, label TEXT, note TEXT NOT NULL,
            time REAL NOT NULL,
            PRIMARY KEY (run, game, reviewer)
        ) WITHOUT ROWID"""
    )


@migrations()
def step_ends(db: Database) -> None:
    """When the last training game of a step ended. The trainer's own log tells no date."""
    db.conn.execute(
        """CREATE TABLE step_ends (
            run TEXT NOT NULL, step INTEGER NOT NULL, ended REAL NOT NULL,
            PRIMARY KEY (run, step)
        ) WITHOUT ROWID"""
    )
    db.conn.execute(
        "INSERT INTO step_ends SELECT run, step, max(ended) FROM games WHERE mode = 'train' GROUP BY run, step"
    )


@migrations()
def memory_by_role(db: Database) -> None:
    """The memory chart is read from the index alone, past the lists of processes."""
    db.conn.execute("DROP INDEX memory_time")
    db.conn.execute(
        "CREATE INDEX memory_time ON memory (run, time, offset, policy, reference, rollout, judge, ray, other)"
    )


@migrations()
def probes(db: Database) -> None:
    """Notes with a known label that the judge was asked about during a run."""
    db.conn.execute(
        """CREATE TABLE probes (
            run TEXT NOT NULL, file TEXT NOT NULL, offset INTEGER NOT NULL, attempt INTEGER NOT NULL,
            step INTEGER NOT NULL, time REAL NOT NULL, case_id TEXT NOT NULL, kind TEXT NOT NULL,
            expected TEXT NOT NULL, label TEXT, reason TEXT NOT NULL, source TEXT NOT NULL, p_harm REAL,
            latency_ms REAL NOT NULL, judge TEXT NOT NULL,
            PRIMARY KEY (run, file, offset)
        ) WITHOUT ROWID"""
    )
    db.conn.execute("CREATE INDEX probes_step ON probes (run, step, attempt)")


@migrations()
def reviewed_facets(db: Database) -> None:
    """A game's last review is a part of its facet: `plain` is the id of the facet that it has without one."""
    db.conn.execute("ALTER TABLE facets ADD COLUMN review TEXT")
    db.conn.execute("ALTER TABLE facets ADD COLUMN plain INTEGER")
    db.conn.execute("UPDATE facets SET plain = id")
    db.conn.execute("DELETE FROM reviews")
    db.conn.execute("DELETE FROM offsets WHERE file = 'reviews.jsonl'")


@migrations()
def step_judge(db: Database) -> None:
    """What the judge, and the assessors, made of a step's training games, dropped ones included."""
    db.conn.execute(
        """CREATE TABLE step_judge (
            run TEXT NOT NULL, step INTEGER NOT NULL, asked INTEGER NOT NULL, abstained INTEGER NOT NULL,
            unreadable INTEGER NOT NULL, failed INTEGER NOT NULL, harmful INTEGER NOT NULL, missed INTEGER NOT NULL,
            harmless INTEGER NOT NULL, flagged INTEGER NOT NULL,
            PRIMARY KEY (run, step)
        ) WITHOUT ROWID"""
    )
    db.conn.execute(
        """INSERT INTO step_judge
        WITH wanted AS MATERIALIZED (
            SELECT run, step, max(attempt) AS attempt FROM games WHERE mode = 'train' GROUP BY run, step
        )
        SELECT run, step, total(asked), total(asked AND reason = 'abstain'),
            total(asked AND reason IN ('unreadable', 'label_mass')), total(asked AND reason IN ('timeout', 'failed')),
            total(iif(truth = 'Harmful', safe + harmful, 0)), total(iif(truth = 'Harmful', safe, 0)),
            total(iif(truth = 'Safe', safe + harmful, 0)), total(iif(truth = 'Safe', harmful, 0))
        FROM (
            SELECT g.run, w.step, g.truth, f.reason, f.source IN ('rule', 'logit', 'explain', 'cache') AS asked,
                (SELECT count(*) FROM facet_turns t WHERE t.facet = f.id AND t.role = 'assessor' AND t.answer = 'Safe') safe,
                (SELECT count(*) FROM facet_turns t WHERE t.facet = f.id AND t.role = 'assessor'
                    AND t.answer = 'Harmful') harmful
            FROM wanted w CROSS JOIN games g ON g.run = w.run AND g.mode = 'train' AND g.step = w.step
                AND g.attempt = w.attempt CROSS JOIN facets f ON f.id = g.facet
        ) GROUP BY run, step"""
    )


@migrations()
def health(db: Database) -> None:
    """What only the texts of a step's training games tell, one row a role and start; and what was wrong with runs."""
    db.conn.execute(
        """CREATE TABLE step_texts (
            run TEXT NOT NULL, step INTEGER NOT NULL, attempt INTEGER NOT NULL, role TEXT NOT NULL,
            turns INTEGER NOT NULL, thoughts INTEGER NOT NULL, words INTEGER NOT NULL, copied INTEGER NOT NULL,
            garbled INTEGER NOT NULL,
            PRIMARY KEY (run, step, attempt, role)
        ) WITHOUT ROWID"""
    )
    db.conn.execute(
        """CREATE TABLE alerts (
            run TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, step INTEGER NOT NULL, text TEXT NOT NULL,
            link TEXT NOT NULL, raised REAL NOT NULL, cleared REAL,
            PRIMARY KEY (run, id)
        ) WITHOUT ROWID"""
    )


@migrations()
def evaluations(db: Database) -> None:
    """Every number of every evaluation's table. `models` is JSON, `of` the notes that a share was counted from."""
    db.conn.execute(
        "CREATE TABLE evaluations (id TEXT PRIMARY KEY, created REAL NOT NULL, notes TEXT NOT NULL, models TEXT NOT NULL)"
    )
    db.conn.execute(
        """CREATE TABLE evaluation_scores (
            evaluation TEXT NOT NULL REFERENCES evaluations (id), player TEXT NOT NULL, role TEXT NOT NULL,
            how TEXT NOT NULL, measure TEXT NOT NULL, value REAL, low REAL, high REAL, of INTEGER
        )"""
    )
    db.conn.execute("CREATE INDEX evaluation_scores_measure ON evaluation_scores (measure, evaluation)")


@migrations()
def trained_seats(db: Database) -> None:
    """A step's sums count trained seats alone: runs that have frozen ones are read again from their files."""
    found = db.conn.execute("SELECT DISTINCT run FROM games WHERE id IN (SELECT game FROM turns WHERE NOT trained)")
    for (run,) in found.fetchall():
        for table in ("turns", "verdicts"):
            db.conn.execute(f"DELETE FROM {table} WHERE game IN (SELECT id FROM games WHERE run = ?)", (run,))
        db.conn.execute("DELETE FROM games WHERE run = ?", (run,))
        db.conn.execute("DELETE FROM facet_turns WHERE facet IN (SELECT id FROM facets WHERE run = ?)", (run,))
        for table in ("facets", "step_roles", "step_games", "step_ends", "step_judge", "step_texts"):
            db.conn.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
        for table in ("offsets", "bad_lines"):
            db.conn.execute(f"DELETE FROM {table} WHERE run = ? AND file LIKE 'games/%'", (run,))
        db.conn.execute('DROP TABLE IF EXISTS "search {}"'.format(run.replace('"', '""')))

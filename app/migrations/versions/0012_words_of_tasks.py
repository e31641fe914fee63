"""The words of saved tasks, by which searches find them, and all words that tasks have had, for misspelled ones.

Safe beside old servers and workers: a column and a table that nobody else knows. Old servers search without an index
until they are replaced. Only the table of tasks is rewritten, which is small.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

PUNCTUATION = "!\"#$%&''()*+,-./:;<=>?@[\\]^_`{|}~"
WORDS = " || ".join(
    f"setweight(to_tsvector('simple'::regconfig, translate({column}, '{PUNCTUATION}', repeat(' ', 32))), '{weight}')"
    for column, weight in (("name", "A"), ("COALESCE(description, '')", "D"))
)
# Words with digits are not misspelled: they are others. Nothing is unique, so that no transaction waits for another.
KEEP = r"""
    INSERT INTO task_words (word)
    SELECT DISTINCT each.word FROM {tasks}, unnest(tsvector_to_array(words)) AS each(word)
    WHERE length(each.word) BETWEEN 3 AND 100 AND each.word !~ '\d'
        AND NOT EXISTS (SELECT FROM task_words known WHERE known.word = each.word)"""


def upgrade() -> None:
    """Divide names and descriptions into words, and let a trigger keep the words there are."""
    op.add_column("tasks", sa.Column("words", postgresql.TSVECTOR(), sa.Computed(WORDS, persisted=True), nullable=True))
    op.create_index(
        "tasks_by_word",
        "tasks",
        ["words"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table("task_words", sa.Column("word", sa.Text(), nullable=False))
    op.create_index("task_words_by_word", "task_words", ["word"])
    trigrams = {"word": "gin_trgm_ops"}
    op.create_index("task_words_alike", "task_words", ["word"], postgresql_using="gin", postgresql_ops=trigrams)
    op.execute(KEEP.format(tasks="tasks"))
    body = f"BEGIN {KEEP.format(tasks='changed')}; RETURN NULL; END"
    op.execute(f"CREATE FUNCTION keep_task_words() RETURNS trigger LANGUAGE plpgsql AS $body$ {body} $body$")
    for event in ("INSERT", "UPDATE"):
        op.execute(
            f"CREATE TRIGGER keep_words_after_{event.lower()} AFTER {event} ON tasks "
            "REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_task_words()"
        )
    for name in ("tasks_words", "tasks_trigrams"):
        op.drop_index(name, "tasks")


def downgrade() -> None:
    """Undo it."""
    words = sa.literal_column("to_tsvector('simple'::regconfig, searched)")
    op.create_index("tasks_words", "tasks", [words], postgresql_using="gin")
    trigrams = {"searched": "gin_trgm_ops"}
    op.create_index("tasks_trigrams", "tasks", ["searched"], postgresql_using="gin", postgresql_ops=trigrams)
    for event in ("insert", "update"):
        op.execute(f"DROP TRIGGER keep_words_after_{event} ON tasks")
    op.execute("DROP FUNCTION keep_task_words()")
    op.drop_table("task_words")
    op.drop_index("tasks_by_word", "tasks")
    op.drop_column("tasks", "words")

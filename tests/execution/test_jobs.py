"""Jobs: items spawned as a stream, performed in chunks by lanes, each recorded once."""

from execution import jobs
from tests import job_skills
from tests.hands import MARKS

pytestmark = MARKS


def test_items_are_performed_in_chunks(workers):
    """Every item is done, and its result recorded."""
    job = jobs.spawn(job_skills.double, ({"number": n} for n in range(2000)), chunk=100, parallel=2)
    workers(skills="tests.job_skills")
    progress = jobs.wait(job, timeout=30)
    assert (progress.state, progress.completed_count, progress.left_count) == ("completed", 2000, 0)
    assert [result.output for result in jobs.results(job)] == [n * 2 for n in range(2000)]

"""The capacity program: its arithmetic by hand, and that the simulation agrees with it."""

import contextlib
import io
import subprocess
import unittest
from dataclasses import replace

from k8s_cases import ROOT

from k8s_lib import capacity_cli
from k8s_lib.capacity import Inputs, markdown, plan
from k8s_lib.simulation import simulate

# Round numbers: 100 images/s a core, pods of 4 cores, half of which may be busy.
ROUND = Inputs(
    inference_per_core=100.0,
    writes_per_core=1_000.0,
    scan_per_core=100_000.0,
    utilisation=0.5,
    image_bytes=1_000.0,
    megabytes_per_broker=20.0,
    cores_per_shard=2,
)


class Arithmetic(unittest.TestCase):
    def test_by_hand(self):
        found = plan(10_000, ROUND)
        self.assertEqual(found.inference_cores, 200)  # 10,000 / (100 x 0.5)
        self.assertEqual((found.inference_pods, found.consumers, found.partitions), (50, 50, 200))
        self.assertEqual((found.megabytes, found.brokers), (10.0, 3))  # 10 x 3 / (20 x 0.5)
        self.assertEqual(found.shards, 10)  # 10,000 / (1,000 x 2 x 0.5)
        self.assertEqual(found.report_documents, 36_000_000)
        self.assertEqual((found.report_cores, found.executors), (6, 2))  # 36,000,000 / (100,000 x 60)
        self.assertEqual(found.capacity, 20_000)

    def test_there_is_at_least_one_of_each_and_as_many_brokers_as_copies(self):
        found = plan(0.1, ROUND)
        least = (found.inference_cores, found.inference_pods, found.consumers, found.shards, found.executors, found.brokers)
        self.assertEqual(least, (1, 1, 1, 1, 1, 3))

    def test_many_partitions_need_brokers_too(self):
        # 5,000,000 images/s: 25,000 pods and consumers, 100,000 partitions, in two topics and three copies.
        self.assertEqual(plan(5_000_000, replace(ROUND, megabytes_per_broker=1e6)).brokers, 150)

    def test_twice_the_rate_needs_no_less_of_anything(self):
        plans = [plan(rate, Inputs()) for rate in (10, 1_000, 2_000, 100_000, 10_000_000)]
        for less, more in zip(plans, plans[1:]):
            for name in vars(less):
                self.assertLessEqual(getattr(less, name), getattr(more, name), name)

    def test_what_is_no_number_of_anything_is_refused(self):
        for wrong in ({"inference_per_core": 0}, {"utilisation": 1.1}, {"report_seconds": -1}):
            with self.assertRaises(ValueError):
                replace(ROUND, **wrong)
        with self.assertRaises(ValueError):
            plan(0, ROUND)


class Simulation(unittest.TestCase):
    """The same numbers from a different direction."""

    def test_pods_are_as_busy_as_the_formula_says_and_nothing_piles_up(self):
        for inputs in (ROUND, Inputs(), replace(Inputs(), utilisation=0.9, consumers_per_inference_pod=3)):
            for rate in (1_000, 100_000):
                with self.subTest(rate=rate, inputs=inputs):
                    found = plan(rate, inputs)
                    ran = simulate(found, inputs)
                    self.assertTrue(ran.bounded, ran)
                    self.assertAlmostEqual(ran.utilisation, rate / found.capacity, delta=0.02)
                    self.assertLess(ran.p99_seconds, 2.0)

    def test_beyond_capacity_what_waits_grows_by_the_difference(self):
        found = plan(2_000, ROUND)
        self.assertEqual(found.capacity, 4_000)
        ran = simulate(found, ROUND, load=2.2)
        self.assertFalse(ran.bounded)
        # 8 of the 10 pods are simulated: 3,520 images/s come, and 3,200 go.
        self.assertEqual((ran.pods, ran.rate), (8, 3_520))
        self.assertAlmostEqual(ran.growth, 320, delta=40)
        self.assertGreater(ran.utilisation, 0.99)

    def test_one_pod_less_than_the_load_needs_is_found(self):
        inputs = replace(ROUND, utilisation=1.0)
        enough = plan(2_000, replace(inputs, utilisation=0.9))
        self.assertTrue(simulate(enough, inputs).bounded)
        self.assertEqual(enough.inference_pods, 6)
        self.assertFalse(simulate(replace(enough, inference_pods=4, consumers=4), inputs).bounded)

    def test_consumers_that_do_not_divide_the_partitions_have_unequal_work(self):
        # Of 8 partitions two of 6 consumers have two: a quarter of all images goes to each of their pods.
        uneven = replace(plan(1_200, ROUND), inference_pods=6, consumers=6, partitions=8)
        ran = simulate(uneven, ROUND)
        self.assertAlmostEqual(ran.busiest, 0.25 * 1_200 / 400, delta=0.03)
        self.assertAlmostEqual(ran.utilisation, 0.5, delta=0.02)

    def test_connections_at_random_leave_pods_idle(self):
        found = plan(100_000, Inputs())
        even, chance = simulate(found, Inputs()), simulate(found, Inputs(), at_random=True)
        self.assertGreater(chance.busiest, even.busiest)
        self.assertGreater(chance.waiting, even.waiting)

    def test_the_same_seed_is_the_same_run(self):
        found = plan(1_000, Inputs())
        self.assertEqual(simulate(found, Inputs(), 10), simulate(found, Inputs(), 10))
        self.assertNotEqual(simulate(found, Inputs(), 10), simulate(found, Inputs(), 10, seed=2))


class Program(unittest.TestCase):
    def test_it_prints_inputs_a_table_and_verdicts(self):
        done = subprocess.run(
            [str(ROOT / "dev/capacity"), "--rates", "1000", "--simulate", "--seconds", "10"], capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("inference-per-core = 182: ", done.stdout)
        self.assertIn("| inference: cores           |         8 |", done.stdout)
        self.assertIn("bounded", done.stdout)
        self.assertIn("grows by", done.stdout)

    def test_an_input_is_an_argument(self):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            capacity_cli.main(["--rates", "1000,2000", "--inference-per-core", "1000"])
        self.assertRegex(said.getvalue(), r"inference: cores +\| +2 \| +3 \|")

    def test_wrong_inputs_are_wrong_usage(self):
        for arguments in (["--rates", "many"], ["--rates", "0"], ["--utilisation", "2"], ["--colour", "red"]):
            with self.subTest(arguments), contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as caught:
                capacity_cli.main(arguments)
            self.assertEqual(caught.exception.code, 2)

    def test_a_table(self):
        self.assertEqual(markdown([["a", "bb"], ["ccc", "1"]]), "| a   | bb |\n|-----|---:|\n| ccc |  1 |")

    def test_the_table_in_the_docs_is_what_the_program_prints(self):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            capacity_cli.main(["--simulate"])
        text = (ROOT / "docs/capacity.md").read_text()
        for line in said.getvalue().splitlines():
            if line.startswith("|"):
                self.assertIn(line, text, "docs/capacity.md is not what `dev/capacity --simulate` prints")


if __name__ == "__main__":
    unittest.main()

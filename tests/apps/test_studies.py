from apps.studies import batching
from common.artifact import read_json


def test_the_batching_study_measures_both_ways_on_the_same_reviews(imdb_dir, tmp_path):
    batching.main(
        data_dir=str(imdb_dir), max_length=200, reviews=60, rounds=1, output=tmp_path / "a.json"
    )
    record = read_json(tmp_path / "a.json")
    assert record["padding_share"]["one_length"] > record["padding_share"]["buckets"]
    rates = {name: values[0] for name, values in record["tokens_per_second"].items()}
    assert record["ratio"] == rates["buckets"] / rates["one_length"]

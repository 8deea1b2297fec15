from prometheus_client.parser import text_string_to_metric_families

from asr.server.measures import Measures


def test_the_page_is_what_prometheus_reads() -> None:
    measures = Measures()
    measures.heard(3, audio=6.0, seconds=1.5)
    measures.heard(0, audio=0.0, seconds=0.1)
    measures.requests.labels("/v1/models", "200").inc()
    read = {
        sample.name: sample.value
        for family in text_string_to_metric_families(measures.page().decode())
        for sample in family.samples
        if "bucket" not in sample.name
    }
    assert read["asr_audio_seconds_total"] == 6 and read["asr_hearing_seconds_total"] == 1.6
    assert (read["asr_real_time_factor_sum"], read["asr_real_time_factor_count"]) == (0.25, 1)
    assert read["asr_requests_total"] == 1


def test_two_servers_count_apart() -> None:
    one, other = Measures(), Measures()
    one.audio.inc(5)
    assert other.registry.get_sample_value("asr_audio_seconds_total") == 0

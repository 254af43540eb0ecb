import pytest

from apps.translation.typed_text import normalized, restored, sentences_of, without_loops

pytestmark = pytest.mark.no_backend


def test_quotation_marks_become_plain_and_capitals_small_letters_unless_they_are_a_word_alone():
    assert normalized("“It’s late,” she said.") == '"It\'s late," she said.'
    assert normalized("WHERE ARE YOU? HERE.") == "Where are you? Here."
    assert normalized("NASA") == "NASA"
    assert normalized("I saw NASA.") == "I saw NASA."


def test_a_text_is_cut_where_a_sentence_ends_and_another_begins():
    assert sentences_of(" I lost it. Did you? Yes! ") == ["I lost it.", "Did you?", "Yes!"]
    assert sentences_of("Mr. Smith met J. Doe at 9.30 p.m. on Monday.") == [
        "Mr. Smith met J. Doe at 9.30 p.m. on Monday."
    ]
    assert sentences_of("Fini. Écoute ! « Oui. »") == ["Fini.", "Écoute !", "« Oui. »"]
    assert sentences_of("\u0645\u0631\u062d\u0628\u0627. \u0634\u0643\u0631\u0627.") == [
        "\u0645\u0631\u062d\u0628\u0627.",
        "\u0634\u0643\u0631\u0627.",
    ]
    assert sentences_of("so... what now") == ["so... what now"]


def test_no_phrase_stands_three_times_in_a_row():
    assert without_loops("ha ha ha ha he said") == "ha ha he said"
    assert without_loops("a man, a man, a man and a man") == "a man, a man, and a man"
    assert without_loops("Non Non non NON !") == "Non Non !"
    assert without_loops("one two one two") == "one two one two"


@pytest.mark.parametrize(
    "typed, written",
    [
        ("i dont know", "I don't know."),
        ("Dont worry", "Don't worry."),
        ("whats your name", "What's your name?"),
        ("can u help me", "Can you help me?"),
        ("when i was young", "When I was young."),
        ("no", "No."),
        ("i'm ill!", "i'm ill!"),
        ("Its owner wont sell it.", "Its owner won't sell it."),
        ("rock 'n' roll", "Rock 'n' roll."),
        ("It's fine.", "It's fine."),
    ],
)
def test_what_is_typed_in_a_hurry_is_written_out(typed, written):
    assert restored(typed) == written

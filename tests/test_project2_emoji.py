"""BERTweet's emoji names against those of emoji 0.6.0, and the cut before its normaliser."""
import time

import emoji
import pytest
import transformers

import project2  # makes the package classifier known

from classifier.text import cut
from classifier.text import pretrained_emoji_names

# What emoji.demojize of version 0.6.0 gives for a character: all 54 names that differ from emoji 2's, some of the 26 letters
# of flags, emoji whose alias in emoji 2 was another one's name, and common ones.
NAMES = {entry[0]: entry[1:] for entry in """
☑:ballot_box_with_check: ✅:white_heavy_check_mark: ✔:heavy_check_mark: ✖:heavy_multiplication_x: ❓:question_mark:
❗:exclamation_mark: ❣:heavy_heart_exclamation: ➕:heavy_plus_sign: ➖:heavy_minus_sign: ➗:heavy_division_sign:
⭐:white_medium_star: ⭕:heavy_large_circle: 🎒:school_backpack: 🎯:direct_hit: 🏼:medium_light_skin_tone:
🏾:medium_dark_skin_tone: 🐸:frog_face: 🐹:hamster_face: 🐺:wolf_face: 🐻:bear_face: 🐼:panda_face:
👫:man_and_woman_holding_hands: 👬:two_men_holding_hands: 👭:two_women_holding_hands: 👰:bride_with_veil:
👱:blond-haired_person: 👲:man_with_Chinese_cap: 💤:zzz: 💻:laptop_computer: 🔫:pistol: 🕴:man_in_suit_levitating:
😡:pouting_face: 😵:dizzy_face: 😸:grinning_cat_face_with_smiling_eyes: 😹:cat_face_with_tears_of_joy: 😺:grinning_cat_face:
😻:smiling_cat_face_with_heart-eyes: 😼:cat_face_with_wry_smile: 😽:kissing_cat_face: 😾:pouting_cat_face:
😿:crying_cat_face: 🙀:weary_cat_face: 🤖:robot_face: 🤗:hugging_face: 🤵:man_in_tuxedo: 🥰:smiling_face_with_3_hearts:
🦁:lion_face: 🦄:unicorn_face: 🦊:fox_face: 🦯:probing_cane: 🧑:adult: 🧓:older_adult: 🧔:bearded_person: 🧩:jigsaw:
🇦:regional_indicator_symbol_letter_a: 🇧:regional_indicator_symbol_letter_b: 🇬:regional_indicator_symbol_letter_g:
🇰:regional_indicator_symbol_letter_k: 🇸:regional_indicator_symbol_letter_s: 🇺:regional_indicator_symbol_letter_u:
🇽:regional_indicator_symbol_letter_x: 🇿:regional_indicator_symbol_letter_z: 🙎:person_pouting: 🐫:two-hump_camel:
☔:umbrella_with_rain_drops: ⛄:snowman_without_snow: 🍳:cooking: 🏣:Japanese_post_office: 🐭:mouse_face: 🐮:cow_face:
🐱:cat_face: 🐶:dog_face: 🐷:pig_face: 💋:kiss_mark: 📝:memo: 😎:smiling_face_with_sunglasses: 😀:grinning_face:
😂:face_with_tears_of_joy: 😍:smiling_face_with_heart-eyes: 😭:loudly_crying_face: ❤:red_heart: 👍:thumbs_up:
🙏:folded_hands: 🔥:fire: 💯:hundred_points: 🎉:party_popper: ✨:sparkles: ♥:heart_suit: ☺:smiling_face: ©:copyright:
🏽:medium_skin_tone: 🏿:dark_skin_tone: 📆:tear-off_calendar: 😁:beaming_face_with_smiling_eyes:
😄:grinning_face_with_smiling_eyes: ⚡:high_voltage: 🌟:glowing_star: 💔:broken_heart: 💀:skull: 🥺:pleading_face:
🤣:rolling_on_the_floor_laughing:
""".split()}
# What the normaliser gives with emoji 0.6.0: the tokenizer takes a sequence apart before it asks for names.
SEQUENCES = {
    "flag \U0001f1fa\U0001f1f8": "flag :regional_indicator_symbol_letter_u: :regional_indicator_symbol_letter_s:",
    "skin \U0001f44d\U0001f3fc": "skin :thumbs_up: :medium_light_skin_tone:",
    "heart \u2764\ufe0f and \u2764": "heart :red_heart: and :red_heart:",
    "\U0001f937\U0001f3fe\u200d\u2640\ufe0f": ":person_shrugging: :medium_dark_skin_tone: \u200d :female_sign:",
    "family \U0001f468\u200d\U0001f467": "family :man: \u200d :girl:",
    "keycap 1\ufe0f\u20e3": "keycap 1\ufe0f\u20e3",
    "\U0001f621\U0001f621\U0001f621\U0001f621\U0001f621!": ":pouting_face: :pouting_face: :pouting_face: !",
}
BLOWUPS = ["a.", "a1.", "w.", "1.", "1-", "12", "http", "http://", "http://!?", "http://(a.", "@", "@a.", "a@", "<", "<a",
           "-", "->", ". ", "\U0001f600\U0001f602", "\U0001f44d\U0001f3fd", "a.aa/(", "#a", "&a;", "ha", "\n \t",
           "w." * 249 + " "]


def make_tokenizer(folder, words):
    """Return a BertweetTokenizer whose merges make these words whole, and with them their pieces."""
    pieces = dict.fromkeys((word[:end], word[end] + ("</w>" if end == len(word) - 1 else ""))
                           for word in words for end in range(1, len(word)))
    vocabulary = [*words, *dict.fromkeys(f"{left}@@" for left, _ in pieces)]
    (folder / "vocab.txt").write_text("".join(f"{word} 1\n" for word in vocabulary), encoding="utf-8")
    (folder / "bpe.codes").write_text("".join(f"{left} {right} 1\n" for left, right in pieces), encoding="utf-8")
    tokenizer = transformers.BertweetTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes"), normalization=True)
    tokenizer.demojizer = pretrained_emoji_names(tokenizer.get_vocab())
    return tokenizer


@pytest.fixture(name="tokenizer", scope="module")
def fixture_tokenizer(tmp_path_factory):
    """A tokenizer that knows the names of emoji 0.6.0."""
    return make_tokenizer(tmp_path_factory.mktemp("bertweet"), list(NAMES.values()))


def test_each_emoji_is_one_token_with_its_pretrained_name(tokenizer):
    assert {character: tokenizer.tokenize(character) for character in NAMES} == {
        character: [name] for character, name in NAMES.items()}


@pytest.mark.parametrize("text", SEQUENCES)
def test_sequences_come_out_as_in_pretraining(tokenizer, text):
    assert tokenizer.normalizeTweet(text) == SEQUENCES[text]


def test_the_vocabulary_decides():
    """A model that was pretrained with emoji 2, or with the characters themselves, gets what it knows."""
    assert pretrained_emoji_names({":frog:"})("\U0001f438") == ":frog:"
    assert pretrained_emoji_names({":frog:", ":frog_face:"})("\U0001f438") == ":frog_face:"
    assert pretrained_emoji_names({"\u26e9"})("\u26e9") == "\u26e9"


def test_without_a_word_the_name_is_that_of_emoji_06():
    name = pretrained_emoji_names(())
    assert {character: name(character) for character in NAMES} == NAMES
    assert name("\ufe0f") == "" and name("a") == "a" and name(".") == "."
    assert name("\U0001fae0") == emoji.demojize("\U0001fae0")  # of 2021: 0.6 does not know it


def test_a_saved_tokenizer_is_as_it_was(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = transformers.BertweetTokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == tokenizer.get_vocab() and again.normalization


@pytest.mark.parametrize("max_length", [8, 128])
def test_cut_keeps_the_tokens_that_are_read(tokenizer, max_length):
    """Long texts, with links, runs of signs and blanks, and emoji."""
    rows = ["so happy \U0001f917\U0001f1fa\U0001f1f8 @someone_with_a_name https://www.example.com/a,b?c=d.e", "\n" * 900,
            "call 123 456 - 7890 . . . can't, a.m. or " + "!" * 700, "-" * 2000,
            "http://example.com/" + "x" * 900 + " \U0001f621" * 5]
    for start in range(len(rows)):
        text = " ".join((rows[start:] + rows[:start]) * 20)
        short = cut(text, max_length)
        assert len(short) < len(text)
        kept, read = (tokenizer(one, truncation=True, max_length=max_length)["input_ids"] for one in (short, text))
        assert kept == read and len(kept) == max_length


def test_cut_leaves_a_tweet_alone():
    assert cut(tweet := "a." * 140 + "&&&&&lt; " + "." * 200, 128) == tweet


@pytest.mark.parametrize("unit", BLOWUPS)
def test_no_text_takes_long(tokenizer, unit):
    start = time.perf_counter()
    tokenizer(cut(unit * (100000 // len(unit)), 128), truncation=True, max_length=128)
    assert time.perf_counter() - start < 2  # some 0.3 s; uncut, "a." takes most of an hour

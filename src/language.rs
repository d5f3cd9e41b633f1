//! Which language a text is in, as far as that is certain; what is done about it is the guard's.

use whatlang::{Detector, Lang};

/// Letters, in bytes of UTF-8, of which the language can be told: 24 of English, 12 Cyrillic ones, 8 Chinese ones.
const ENOUGH: usize = 24;
/// The share of letters among the signs of a text that is prose; code and tables have fewer.
const PROSE: f32 = 0.8;
/// How sure it must be, in [0, 1], that a text is in this language and in none that is read.
const SURE: f64 = 0.999;
/// And that each half of it is: names and odd words may sway a whole text, seldom both halves.
const LIKELY: f64 = 0.5;
/// How sure it must be which language it is, for it to be named.
const NAMED: f64 = 0.5;

/// The subtag of a language that could not be named.
const UNDETERMINED: &str = "und";

/// The languages that can be told, as the primary subtags of BCP 47.
#[rustfmt::skip]
const TAGS: [(Lang, &str); 70] = {
    use Lang::*;
    [
        (Afr, "af"), (Aka, "ak"), (Amh, "am"), (Ara, "ar"), (Aze, "az"), (Bel, "be"), (Bul, "bg"), (Ben, "bn"),
        (Cat, "ca"), (Ces, "cs"), (Cym, "cy"), (Dan, "da"), (Deu, "de"), (Ell, "el"), (Eng, "en"), (Epo, "eo"),
        (Spa, "es"), (Est, "et"), (Pes, "fa"), (Fin, "fi"), (Fra, "fr"), (Guj, "gu"), (Heb, "he"), (Hin, "hi"),
        (Hrv, "hr"), (Hun, "hu"), (Hye, "hy"), (Ind, "id"), (Ita, "it"), (Jpn, "ja"), (Jav, "jv"), (Kat, "ka"),
        (Khm, "km"), (Kan, "kn"), (Kor, "ko"), (Lat, "la"), (Lit, "lt"), (Lav, "lv"), (Mkd, "mk"), (Mal, "ml"),
        (Mar, "mr"), (Mya, "my"), (Nob, "nb"), (Nep, "ne"), (Nld, "nl"), (Ori, "or"), (Pan, "pa"), (Pol, "pl"),
        (Por, "pt"), (Ron, "ro"), (Rus, "ru"), (Sin, "si"), (Slk, "sk"), (Slv, "sl"), (Sna, "sn"), (Srp, "sr"),
        (Swe, "sv"), (Tam, "ta"), (Tel, "te"), (Tha, "th"), (Tuk, "tk"), (Tgl, "tl"), (Tur, "tr"), (Ukr, "uk"),
        (Urd, "ur"), (Uzb, "uz"), (Vie, "vi"), (Yid, "yi"), (Cmn, "zh"), (Zul, "zu"),
    ]
};

/// A language that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// The primary subtag of BCP 47; `und` where nobody can say which of several it is.
    pub tag: &'static str,
    /// In English; `None` for `und`.
    pub name: Option<&'static str>,
}

/// The language of a text that is long enough to tell, where it is none of those that are `read`, given as subtags of
/// BCP 47. Takes linear time.
///
/// `None` for all else: a text that is partly in one of them, too, and every text where one of them is not known here, or
/// none is given.
pub fn foreign(text: &str, read: &[String]) -> Option<Foreign> {
    let known = |tag: &String| TAGS.iter().find(|(_, known)| known == tag).map(|(lang, _)| *lang);
    let read = read.iter().map(known).collect::<Option<Vec<Lang>>>().filter(|read| !read.is_empty())?;
    let (first, second) = halves(text)?;
    let found = whatlang::detect(text).filter(|found| !read.contains(&found.lang()))?;
    // Against the languages that are read alone: that it may be Danish or Norwegian is no doubt that it is not English.
    let against = Detector::with_allowlist(read.into_iter().chain([found.lang()]).collect());
    let speaks = |text: &str, least: f64| {
        against.detect(text).is_some_and(|info| info.lang() == found.lang() && info.confidence() >= least)
    };
    let is_foreign = speaks(text, SURE) && speaks(first, LIKELY) && speaks(second, LIKELY);
    let tag = TAGS.iter().find(|(lang, _)| *lang == found.lang()).filter(|_| found.confidence() >= NAMED);
    is_foreign.then(|| match tag {
        Some((lang, tag)) => Foreign { tag, name: Some(lang.eng_name()) },
        None => Foreign { tag: UNDETERMINED, name: None },
    })
}

/// The halves of a text, as many letters in each; `None` if it has too few, or is no prose.
fn halves(text: &str) -> Option<(&str, &str)> {
    let letters: Vec<(usize, char)> = text.char_indices().filter(|(_, c)| c.is_alphabetic()).collect();
    let bytes: usize = letters.iter().map(|(_, c)| c.len_utf8()).sum();
    let signs = text.chars().filter(|c| !c.is_whitespace()).count();
    let tells = bytes >= ENOUGH && letters.len() as f32 >= PROSE * signs as f32;
    tells.then(|| text.split_at(letters[letters.len() / 2].0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, read: &[&str]) -> Option<&'static str> {
        let read: Vec<String> = read.iter().map(|tag| (*tag).to_owned()).collect();
        foreign(text, &read).map(|foreign| foreign.tag)
    }

    #[test]
    fn texts_of_some_words_are_told_in_every_script() {
        for (tag, text) in [
            ("de", "Könnten Sie mir bitte sagen, wann der nächste Zug nach Hamburg fährt und von welchem Gleis?"),
            ("fr", "Pourriez-vous me dire à quelle heure ouvre la bibliothèque municipale le samedi matin ?"),
            ("es", "¿Podría decirme cuánto tiempo tarda en llegar el autobús desde la estación hasta el centro?"),
            ("pt", "Você poderia me explicar como faço para renovar a minha carteira de motorista pela internet?"),
            ("it", "Potresti dirmi quanto tempo ci vuole per cuocere le lasagne nel forno della mia nonna?"),
            ("tr", "Bana İstanbul'da çocuklarla gezilecek güzel bir yer önerebilir misiniz, lütfen?"),
            ("pl", "Czy możesz mi powiedzieć, jak długo trzeba gotować ziemniaki na sałatkę?"),
            ("ru", "Подскажите, пожалуйста, во сколько открывается библиотека и можно ли взять эти книги на выходные?"),
            ("el", "Πότε ανοίγει το φαρμακείο το Σάββατο το πρωί;"),
            ("ar", "متى يفتح المتجر أبوابه يوم السبت صباحا من فضلك؟"),
            ("hi", "कृपया बताइए कि पुस्तकालय शनिवार को कितने बजे खुलता है"),
            ("zh", "请告诉我图书馆星期六早上几点开门"),
            ("ja", "土曜日の朝、図書館は何時に開きますか"),
            ("ko", "토요일 아침에 도서관은 몇 시에 문을 여나요"),
            ("th", "ห้องสมุดเปิดกี่โมงในวันเสาร์ตอนเช้า"),
        ] {
            assert_eq!(found(text, &["en"]), Some(tag), "{text}");
            assert_eq!(found(text, &["en", tag]), None, "it is read: {text}");
        }
    }

    #[test]
    fn ordinary_english_is_not_foreign() {
        for text in [
            "hi",
            "ok thx",
            "wat time u comin over tmrw lol idk if i can make it tbh",
            "pls hlep me wiht my homwork its abuot teh romans adn im so tierd",
            "WHERE IS MY PARCEL??? I ORDERED IT THREE WEEKS AGO AND NOBODY ANSWERS",
            "milk, eggs, flour, butter, oranges, baking powder, two lemons",
            "José Martínez, Anna Kowalska, Björn Lindqvist and Giulia Bianchi",
            "What does \u{ab}je ne sais quoi\u{bb} mean, and would an American use it at dinner?",
            "let mut total = 0;\nfor (index, value) in values.iter().enumerate() {\n    total += index * value;\n}",
            "SELECT name, city FROM customers WHERE country = 'DE' ORDER BY name LIMIT 20;",
            "https://example.com/articles/2024/05/how-to-bake-bread?ref=newsletter&id=8831",
            "",
        ] {
            assert_eq!(found(text, &["en"]), None, "{text}");
        }
    }

    #[test]
    fn what_is_too_short_or_partly_read_is_not_told() {
        assert_eq!(found("Guten Morgen", &["en"]), None);
        let half = "Can you tell me what this letter from my landlord says, in plain words please? \
                    Sehr geehrte Mieterin, die Miete wird zum ersten Mai um vierzig Euro erhöht.";
        assert_eq!(found(half, &["en"]), None);
    }

    #[test]
    fn where_a_language_that_is_read_is_not_known_nothing_is_told() {
        let text = "Könnten Sie mir bitte sagen, wann der nächste Zug nach Hamburg fährt und von welchem Gleis?";
        assert_eq!(found(text, &["en", "sw"]), None);
        assert_eq!(found(text, &[]), None);
        let english =
            "Could you please tell me when the next train to the city leaves, and from which platform it goes?";
        assert_eq!(found(english, &["de"]), Some("en"));
    }

    #[test]
    fn a_language_is_foreign_though_nobody_can_tell_it_from_its_neighbour() {
        // Norwegian, or Danish.
        assert_eq!(found("Vi har tenkt å reise til byen i morgen for å handle", &["en"]), Some(UNDETERMINED));
    }

    #[test]
    fn every_language_has_a_tag_of_its_own() {
        for (at, (lang, tag)) in TAGS.iter().enumerate() {
            assert!(TAGS[..at].iter().all(|(other, known)| other != lang && known != tag), "{tag}");
        }
        assert!(Lang::all().iter().all(|lang| TAGS.iter().any(|(known, _)| known == lang)));
    }
}

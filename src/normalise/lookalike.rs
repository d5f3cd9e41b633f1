//! The ASCII letter or digit that a character passes for.

use unicode_normalization::char::decompose_compatible;
use unicode_security::skeleton;

use super::shapeless::is_mark;

/// Letters of other scripts, small capitals and signs that pass for each letter from `a` to `z`, small and capital.
/// Wider than Unicode TS 39, which is about identifiers: whoever evades takes what a reader guesses.
const ALIKE: [&str; 26] = [
    "аɑαΑАᴀᎪⱥȺ",
    "ЬВΒʙᏴвƄƀɃƁβ",
    "сϲСϹⅽᴄᏟⲥȼȻƈ",
    "ԁⅾᴅᎠԀɗƉ",
    "еєҽεΕЕᴇᎬ℮ɇɆƐ",
    "ғϜꜰƒꞙꞘ",
    "ɡցɢԌᏀǥǤꞡꞠɠ",
    "һհНΗʜᎻнԋ",
    "іιɩІΙɪⅰɨƗ",
    "јϳЈᴊᎫɉɈ",
    "кκΚКᴋᏦĸꝁꝀꞣꞢƙ",
    "ⅼʟᏞԼӏӀƚȽⱡⱠꝉꝈ",
    "мΜМᴍᎷⅿɱ",
    "ոпηΝɴռꞥꞤɲŋ",
    "оοσϭօОΟᴏՕɵƟ",
    "рρϱРΡᴘᏢᵽⱣꝑꝐƥ",
    "ԛզԚǫꝗꝖɋ",
    "гᴦʀᎡɍɌꞧꞦɽ",
    "ѕЅꜱᏚꞩꞨʂ",
    "тτΤТᴛᎢⱦȾƭ",
    "υսʋᴜՍцʉɄ",
    "ѵνᴠⅴѴꝟꝞ",
    "ԝѡᴡᎳшωɯⱳⱲ",
    "хχΧХⅹӿӾ",
    "уүγΥУʏҮɏɎ",
    "ᴢΖᏃʐƶƵȥ",
];

/// Letters with a stroke that languages are written with: they disguise a word only beside others.
const STROKED: [(&str, char); 5] = [("đĐð", 'd'), ("ħĦ", 'h'), ("łŁ", 'l'), ("øØ", 'o'), ("ŧŦ", 't')];

/// The ASCII character that a character passes for, small where it is a letter; `None` for ASCII itself and for
/// what passes for none.
pub fn lookalike(c: char) -> Option<char> {
    let code = c as u32;
    let letter = |first: u32| char::from_u32(u32::from(b'a') + (code - first) % 26);
    match code {
        0..=0x7F => None,
        // Whole scripts that hold none: most texts that are not in ASCII end here.
        0x590..=0x139F | 0x1680..=0x1CFF | 0x2D00..=0xA4CF | 0xA800..=0xFF00 => None,
        // Letters in brackets, circles and squares, some of which Unicode does not take apart.
        0x249C..=0x24B5 => letter(0x249C),
        0x24B6..=0x24E9 => letter(0x24B6),
        0x1F110..=0x1F129 => letter(0x1F110),
        0x1F130..=0x1F149 => letter(0x1F130),
        0x1F150..=0x1F169 => letter(0x1F150),
        0x1F170..=0x1F189 => letter(0x1F170),
        0x1F1E6..=0x1F1FF => letter(0x1F1E6),
        // A language tag hides ASCII that nobody sees.
        0xE0020..=0xE007E => char::from_u32(code - 0xE0000).map(|c| c.to_ascii_lowercase()),
        // Greek, Cyrillic and Armenian are written with these: no more of them than those that were looked at.
        0x370..=0x58F => drawn(c),
        _ => drawn(c).or_else(|| compatible(c)).or_else(|| confusable(c)),
    }
}

/// Whether no language writes words with this look-alike.
pub fn is_styled(c: char) -> bool {
    matches!(c as u32,
        0xB2..=0xB9 | 0x2070..=0x209C | 0x2100..=0x214F | 0x2460..=0x24E9 | 0x1D400..=0x1D7FF | 0x1F110..=0x1F189
        | 0xE0020..=0xE007E)
}

/// Whether words of some language are written with it.
pub fn is_stroked(c: char) -> bool {
    STROKED.iter().any(|(letters, _)| letters.contains(c))
}

pub fn is_regional(c: char) -> bool {
    matches!(c, '\u{1F1E6}'..='\u{1F1FF}')
}

fn drawn(c: char) -> Option<char> {
    let alike = ALIKE.iter().position(|alike| alike.contains(c)).map(|at| char::from(b'a' + at as u8));
    alike.or_else(|| STROKED.iter().find(|(letters, _)| letters.contains(c)).map(|(_, letter)| *letter))
}

/// The character that Unicode's compatibility forms (NFKD) give: full-width, mathematical, raised, lowered, squared.
fn compatible(c: char) -> Option<char> {
    let mut only = Only::default();
    decompose_compatible(c, |part| only.add(part));
    // Accents make no look-alike: every tokenizer knows `é`.
    only.ascii().filter(|_| !is_accented(c))
}

fn is_accented(c: char) -> bool {
    c.is_alphabetic() && matches!(c as u32, 0xC0..=0x24F | 0x1E00..=0x1EFF)
}

/// The character that Unicode TS 39 says is confusable with it.
fn confusable(c: char) -> Option<char> {
    let mut only = Only::default();
    skeleton(c.encode_utf8(&mut [0; 4])).for_each(|part| only.add(part));
    only.ascii().filter(|ascii| ascii.is_ascii_alphabetic() && !is_accented(c))
}

/// The one character that is left of a sequence without its marks.
#[derive(Default)]
struct Only {
    first: Option<char>,
    more: bool,
}

impl Only {
    fn add(&mut self, part: char) {
        if !is_mark(part) {
            self.more |= self.first.is_some();
            self.first.get_or_insert(part);
        }
    }

    fn ascii(self) -> Option<char> {
        self.first.filter(|c| !self.more && (c.is_ascii_graphic())).map(|c| c.to_ascii_lowercase())
    }
}

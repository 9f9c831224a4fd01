//! The commands of one program in a shell script, as words. Enough of the shell's grammar for documents: quotes, continued
//! lines, lists, pipes, command substitutions.

/// The calls of `program`: the line of each, from 1, and its words with the program's name. A substitution within a word
/// counts as a call of its own, and stays in the word as it is written.
pub fn of(script: &str, program: &str) -> Vec<(usize, Vec<String>)> {
    let mut calls = Vec::new();
    let mut rest = Scanner { text: script.chars().collect(), at: 0, line: 1, calls: Vec::new() };
    rest.commands(None);
    for (line, words) in rest.calls {
        let begins = words.iter().position(|word| word == program);
        // What stands before the program: variables for it, `sudo`, and words of the shell.
        let prefix = |word: &String| {
            word.contains('=') || ["sudo", "if", "!", "while", "then", "do", "{"].contains(&word.as_str())
        };
        if let Some(at) = begins.filter(|at| words[..*at].iter().all(prefix)) {
            calls.push((line, words[at..].to_vec()));
        }
    }
    calls
}

struct Scanner {
    text: Vec<char>,
    at: usize,
    line: usize,
    calls: Vec<(usize, Vec<String>)>,
}

impl Scanner {
    fn next(&mut self) -> Option<char> {
        let next = self.text.get(self.at).copied()?;
        self.at += 1;
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    /// Reads commands until the text or a substitution ends.
    fn commands(&mut self, end: Option<char>) {
        let (mut words, mut word, mut line): (Vec<String>, Option<String>, usize) = (Vec::new(), None, self.line);
        while let Some(next) = self.next() {
            match next {
                _ if Some(next) == end => break,
                '#' if word.is_none() => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                }
                '\n' | ';' | '|' | '&' | '(' | ')' => {
                    words.extend(word.take());
                    self.calls.push((line, std::mem::take(&mut words)));
                    line = self.line;
                }
                '>' | '<' => self.redirection(&mut word),
                ' ' | '\t' => words.extend(word.take()),
                '\\' => self.escaped(&mut word),
                _ => self.part(next, word.get_or_insert_default()),
            }
        }
        words.extend(word);
        self.calls.push((line, words));
    }

    fn escaped(&mut self, word: &mut Option<String>) {
        if let Some(next) = self.next().filter(|next| *next != '\n') {
            word.get_or_insert_default().push(next);
        }
    }

    /// A redirection and its file are no words of the command; neither is the number before it.
    fn redirection(&mut self, word: &mut Option<String>) {
        if word.as_ref().is_some_and(|word| word.chars().all(|c| c.is_ascii_digit())) {
            *word = None;
        }
        while self.peek().is_some_and(|c| matches!(c, '>' | '<' | '&' | ' ')) {
            self.next();
        }
        while self.peek().is_some_and(|c| !c.is_whitespace() && !matches!(c, ';' | '|' | '&' | ')')) {
            self.next();
        }
    }

    /// One character of a word, or the quotation or substitution that it begins.
    fn part(&mut self, first: char, word: &mut String) {
        match first {
            '\'' => {
                while let Some(next) = self.next().filter(|next| *next != '\'') {
                    word.push(next);
                }
            }
            '"' => {
                while let Some(next) = self.next().filter(|next| *next != '"') {
                    match next {
                        '\\' => word.extend(self.next().filter(|next| *next != '\n')),
                        _ => self.substitution(next, word),
                    }
                }
            }
            _ => self.substitution(first, word),
        }
    }

    fn substitution(&mut self, first: char, word: &mut String) {
        word.push(first);
        if first == '$' && self.peek() == Some('(') {
            let from = self.at;
            self.next();
            self.commands(Some(')'));
            word.extend(&self.text[from..self.at]);
        }
    }
}

#[test]
fn calls_are_found_with_their_words() {
    let script = "# hostler none\nhostler a 'b c' \"d $e\" \\\n  --f=g # h\nx=$(hostler push \"$(pwd)/w\" s3://b)\nA=b sudo hostler i > j 2>&1 && hostler k | tee\n\
                  echo hostler\nhostler l \"$(hostler m; n)\"\n";
    let call = |line, words: &[&str]| (line, words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let expected = [
        call(2, &["hostler", "a", "b c", "d $e", "--f=g"]),
        call(4, &["hostler", "push", "$(pwd)/w", "s3://b"]),
        call(5, &["hostler", "i"]),
        call(5, &["hostler", "k"]),
        call(7, &["hostler", "m"]),
        call(7, &["hostler", "l", "$(hostler m; n)"]),
    ];
    assert_eq!(of(script, "hostler"), expected);
}

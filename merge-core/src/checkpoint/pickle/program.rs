//! Python's pickle machine, as far as tensors need it: it calls nothing, and limits what a program makes.
//!
//! Values are in one list and refer to each other by position. So nothing is copied when a program remembers a value
//! and uses it again, and a program of any depth is read, inspected and dropped without recursion.

use super::{RESAVE, damaged};
use crate::error::{Error, Result};
use std::collections::HashMap;

/// Longest program in bytes; and most values, stack entries, marks and remembered values. A tensor
/// takes about 200 bytes and 20 values: this allows 200,000 tensors, in less than a gigabyte.
const LONGEST: usize = 64 << 20;
const MOST: usize = 1 << 22;

/// Position of a value in the list of all.
pub(super) type Id = u32;

/// A value that a program makes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PickleValue<'a> {
    Whole(i64),
    Text(&'a str),
    /// A module, and a name in it.
    Global(&'a str, &'a str),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A call that Python would make: the callable, and its arguments.
    Call(Id, Id),
    /// An object outside the program, by its identifier.
    Stored(Id),
    /// A value that no tensor is made of: none, true, a float, a list, bytes.
    Other,
}

/// All values of a program that has ended, and its result.
pub(super) struct PickleValues<'a> {
    all: Vec<PickleValue<'a>>,
    result: Id,
}

impl<'a> PickleValues<'a> {
    pub(super) fn get(&self, id: Id) -> &PickleValue<'a> {
        &self.all[id as usize]
    }

    pub(super) fn result(&self) -> &PickleValue<'a> {
        self.get(self.result)
    }
}

/// Runs a program. It may use only names that `is_known` accepts, each a module and a name in it.
pub(super) fn run<'a>(program: &'a [u8], is_known: &dyn Fn(&str, &str) -> bool) -> Result<PickleValues<'a>> {
    if program.len() > LONGEST {
        return Err(
            Error::user(format!("data.pkl has {} bytes, far more than tensors need", program.len())).hint(RESAVE)
        );
    }
    let mut machine =
        PickleMachine { program, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    while machine.step(is_known)? {
        if [machine.values.len(), machine.stack.len(), machine.marks.len(), machine.memo.len()]
            .iter()
            .any(|n| *n > MOST)
        {
            return Err(Error::user("data.pkl makes far more values than tensors need").hint(RESAVE));
        }
    }
    let result = machine.pop()?;
    Ok(PickleValues { all: machine.values, result })
}

struct PickleMachine<'a> {
    /// The rest of the program, not run yet.
    program: &'a [u8],
    values: Vec<PickleValue<'a>>,
    stack: Vec<Id>,
    /// Height of the stack at each mark that is not used yet.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> PickleMachine<'a> {
    /// Runs the next instruction; false if it stops the program.
    fn step(&mut self, is_known: &dyn Fn(&str, &str) -> bool) -> Result<bool> {
        let [code] = self.array()?;
        if let Some(value) = self.literal(code)? {
            self.push(value);
            return Ok(true);
        }
        match code {
            b'.' => return Ok(false),
            // The protocol and a frame's length are not needed.
            0x80 => drop(self.array::<1>()?),
            0x95 => drop(self.array::<8>()?),
            b'(' => self.marks.push(self.stack.len()),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name, is_known)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (PickleValue::Text(module), PickleValue::Text(name)) = (self.get(module), self.get(name)) else {
                    return Err(damaged("data.pkl uses a name that is not a text"));
                };
                let (module, name) = (*module, *name);
                self.global(module, name, is_known)?;
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(PickleValue::Tuple(items));
            }
            0x85..=0x87 => {
                let mut items: Vec<Id> = (0x85..=code).map(|_| self.pop()).collect::<Result<_>>()?;
                items.reverse();
                self.push(PickleValue::Tuple(items));
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.extend(&items)?;
            }
            // The contents of lists and sets are not needed.
            b'a' => drop(self.pop()?),
            b'e' | 0x90 => drop(self.since_mark()?),
            b'Q' => {
                let known_as = self.pop()?;
                self.push(PickleValue::Stored(known_as));
            }
            b'R' | 0x81 => {
                let (args, callable) = (self.pop()?, self.pop()?);
                let made = match (self.get(callable), self.get(args)) {
                    (PickleValue::Global("collections", "OrderedDict"), PickleValue::Tuple(none))
                        if none.is_empty() =>
                    {
                        PickleValue::Dict(Vec::new())
                    }
                    _ => PickleValue::Call(callable, args),
                };
                self.push(made);
            }
            // A dictionary's attributes, such as versions of modules, are not its entries.
            b'b' => {
                let (_state, object) = (self.pop()?, self.pop()?);
                match self.get(object) {
                    PickleValue::Dict(_) => self.stack.push(object),
                    _ => self.push(PickleValue::Other),
                }
            }
            b'q' | b'r' | 0x94 => {
                let place = match code {
                    b'q' => u32::from(self.array::<1>()?[0]),
                    b'r' => u32::from_le_bytes(self.array()?),
                    _ => self.memo.len() as u32,
                };
                let top = *self.stack.last().ok_or_else(nothing_there)?;
                self.memo.insert(place, top);
            }
            b'h' | b'j' => {
                let place =
                    if code == b'h' { u32::from(self.array::<1>()?[0]) } else { u32::from_le_bytes(self.array()?) };
                let id = self
                    .memo
                    .get(&place)
                    .ok_or_else(|| damaged("data.pkl refers to a value that it has not stored"))?;
                self.stack.push(*id);
            }
            _ => {
                return Err(Error::user(format!("data.pkl has the instruction {code:#04x}, which no tensor needs"))
                    .hint(RESAVE));
            }
        }
        Ok(true)
    }

    /// The value that an instruction contains; `None` for any other instruction.
    fn literal(&mut self, code: u8) -> Result<Option<PickleValue<'a>>> {
        Ok(Some(match code {
            b'K' => PickleValue::Whole(self.array::<1>()?[0].into()),
            b'M' => PickleValue::Whole(u16::from_le_bytes(self.array()?).into()),
            b'J' => PickleValue::Whole(i32::from_le_bytes(self.array()?).into()),
            0x8a => PickleValue::Whole(self.long()?),
            b'G' => {
                self.array::<8>()?;
                PickleValue::Other
            }
            b'N' | 0x88 | 0x89 | b']' | 0x8f => PickleValue::Other,
            0x8c | b'X' | 0x8d => {
                let text = self.counted(code)?;
                PickleValue::Text(std::str::from_utf8(text).map_err(|_| damaged("a text in data.pkl is not UTF-8"))?)
            }
            b'C' | b'B' | 0x8e | 0x96 => {
                self.counted(code)?;
                PickleValue::Other
            }
            b')' => PickleValue::Tuple(Vec::new()),
            b'}' => PickleValue::Dict(Vec::new()),
            _ => return Ok(None),
        }))
    }

    fn get(&self, id: Id) -> &PickleValue<'a> {
        &self.values[id as usize]
    }

    fn push(&mut self, value: PickleValue<'a>) {
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
    }

    /// Takes the top value; values below the last mark cannot be taken.
    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(nothing_there());
        }
        self.stack.pop().ok_or_else(nothing_there)
    }

    fn since_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| damaged("data.pkl ends a list that it has not begun"))?;
        Ok(self.stack.split_off(mark))
    }

    /// Adds keys and their values to the dictionary on top of the stack.
    fn extend(&mut self, items: &[Id]) -> Result<()> {
        let top = *self.stack.last().ok_or_else(nothing_there)?;
        match &mut self.values[top as usize] {
            PickleValue::Dict(entries) if items.len().is_multiple_of(2) => {
                entries.extend(items.chunks_exact(2).map(|entry| (entry[0], entry[1])));
                Ok(())
            }
            _ => Err(damaged("data.pkl adds half an entry, or adds one to a value that is not a dictionary")),
        }
    }

    fn global(&mut self, module: &'a str, name: &'a str, is_known: &dyn Fn(&str, &str) -> bool) -> Result<()> {
        if !is_known(module, name) {
            let message = format!("it wants `{module}.{name}`, which no tensor needs");
            return Err(Error::user(message).hint(format!("nothing that a pickle says is run here; {RESAVE}")));
        }
        self.push(PickleValue::Global(module, name));
        Ok(())
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.program.split_at_checked(len).ok_or_else(|| damaged("data.pkl ends too early"))?;
        self.program = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.bytes(N)?.try_into().expect("as many bytes as were asked for"))
    }

    /// Bytes after their number, which takes one, four or eight bytes depending on the instruction.
    fn counted(&mut self, code: u8) -> Result<&'a [u8]> {
        let len = match code {
            0x8c | b'C' => u64::from(self.array::<1>()?[0]),
            b'X' | b'B' => u64::from(u32::from_le_bytes(self.array()?)),
            _ => u64::from_le_bytes(self.array()?),
        };
        self.bytes(usize::try_from(len).map_err(|_| damaged("data.pkl ends too early"))?)
    }

    fn line(&mut self) -> Result<&'a str> {
        let end = self.program.iter().position(|byte| *byte == b'\n');
        let line = self.bytes(end.ok_or_else(|| damaged("data.pkl ends too early"))?)?;
        self.array::<1>()?;
        std::str::from_utf8(line).map_err(|_| damaged("a name in data.pkl is not UTF-8"))
    }

    /// A signed whole number of up to eight bytes, little-endian.
    fn long(&mut self) -> Result<i64> {
        let [len] = self.array()?;
        let bytes = self.bytes(len.into())?;
        if len > 8 {
            return Err(damaged("a number in data.pkl has more than 64 bits"));
        }
        let negative = bytes.last().is_some_and(|highest| *highest >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(wide))
    }
}

fn nothing_there() -> Error {
    damaged("data.pkl takes a value where there is none")
}

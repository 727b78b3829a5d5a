//! The parts of an answer, free of any layout.

/// Text and tables in reading order.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// The parts.
    pub blocks: Vec<DocumentBlock>,
    /// Which of them is the answer itself, where that is not the first table or list of pairs.
    pub main: Option<usize>,
}

/// A part of a document.
#[derive(Clone, Debug)]
pub enum DocumentBlock {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Names and values, one pair a line.
    Pairs(Vec<(String, String)>),
    /// A table.
    Table(Table),
    /// Remarks, one a line.
    Notes(Vec<String>),
    /// Commands or file contents, as they are.
    Code(String),
}

impl DocumentBlock {
    /// Whether nothing is left of it.
    fn is_empty(&self) -> bool {
        matches!(self, Self::Notes(notes) if notes.is_empty())
    }
}

/// A table of texts.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
    /// Bars beside the rows, on terminals with room for them.
    pub bars: Option<Bars>,
}

/// A bar for every row, as long as its value; for terminals only, because the values stand in a column.
#[derive(Clone, Debug)]
pub struct Bars {
    /// The values, row by row; what is not known has no bar.
    pub values: Vec<Option<f64>>,
    /// Rank as of a column: dropped before those with a lower figure.
    pub droppable: u8,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading, with the unit.
    pub title: String,
    /// Alignment of the cells.
    pub align: Align,
    /// Columns with a higher figure are dropped first when the terminal is too narrow; 0 is never dropped.
    pub droppable: u8,
}

/// Alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

impl Column {
    /// A column of text.
    #[must_use]
    pub fn text(title: &str) -> Self {
        Self { title: title.to_owned(), align: Align::Left, droppable: 0 }
    }

    /// A column of numbers.
    #[must_use]
    pub fn number(title: &str) -> Self {
        Self { title: title.to_owned(), align: Align::Right, droppable: 0 }
    }

    /// May be left out of a narrow terminal; the highest rank goes first.
    #[must_use]
    pub fn droppable(mut self, rank: u8) -> Self {
        self.droppable = rank;
        self
    }
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new(), bars: None }
    }

    /// Appends a row.
    pub fn row<I: IntoIterator<Item = S>, S: Into<String>>(&mut self, cells: I) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Draws bars beside the rows where there is room; columns with a higher rank than `droppable` make room for them.
    pub fn bars(&mut self, values: Vec<Option<f64>>, droppable: u8) {
        self.bars = Some(Bars { values, droppable });
    }
}

impl Document {
    /// Appends a heading.
    pub fn heading(&mut self, text: impl Into<String>) {
        self.blocks.push(DocumentBlock::Heading(text.into()));
    }

    /// Appends a paragraph.
    pub fn text(&mut self, text: impl Into<String>) {
        self.blocks.push(DocumentBlock::Text(text.into()));
    }

    /// Appends a table.
    pub fn table(&mut self, table: Table) {
        self.blocks.push(DocumentBlock::Table(table));
    }

    /// Appends the table that is the answer itself.
    pub fn main_table(&mut self, table: Table) {
        self.main = Some(self.blocks.len());
        self.table(table);
    }

    /// The part that is the answer itself: the one said to be, else the first table or list of pairs.
    #[must_use]
    pub fn main(&self) -> Option<&DocumentBlock> {
        let data =
            |b: &&DocumentBlock| matches!(b, DocumentBlock::Table(_) | DocumentBlock::Pairs(_));
        match self.main {
            Some(index) => self.blocks.get(index),
            None => self.blocks.iter().find(data),
        }
    }

    /// Appends pairs of names and values.
    pub fn pairs(&mut self, pairs: Vec<(String, String)>) {
        self.blocks.push(DocumentBlock::Pairs(pairs));
    }

    /// Appends remarks, if there are any.
    pub fn notes(&mut self, notes: Vec<String>) {
        if !notes.is_empty() {
            self.blocks.push(DocumentBlock::Notes(notes));
        }
    }

    /// Appends the line that says what the answer leaves out, if it leaves anything out.
    pub fn not_modeled<S: AsRef<str>>(&mut self, what: &[S]) {
        if !what.is_empty() {
            let what: Vec<&str> = what.iter().map(AsRef::as_ref).collect();
            self.text(format!("not modeled: {}", what.join("; ")));
        }
    }

    /// Leaves out remarks that were made before.
    pub fn say_once(&mut self) {
        let mut said = std::collections::HashSet::new();
        for block in &mut self.blocks {
            if let DocumentBlock::Notes(notes) = block {
                notes.retain(|note| said.insert(note.clone()));
            }
        }
        let main =
            self.main.map(|at| self.blocks.iter().take(at).filter(|b| !b.is_empty()).count());
        self.blocks.retain(|b| !b.is_empty());
        self.main = main;
    }

    /// Appends commands or file contents.
    pub fn code(&mut self, text: impl Into<String>) {
        self.blocks.push(DocumentBlock::Code(text.into()));
    }
}

//! Data like TPC-H's: the eight tables at any scale, as lines for COPY, always the same.
//!
//! Keys, dates and flags hang together as in the benchmark's specification (version 3, 4.2); texts are shorter and the
//! attributes of parts have fewer values, so that each of the 22 queries finds rows in so little data.

use chrono::{Days, NaiveDate};

/// The tables in the order of their references, with their columns.
pub const TABLES: [(&str, &str); 8] = [
    ("region", "r_regionkey int PRIMARY KEY, r_name char(25) NOT NULL, r_comment varchar(152)"),
    (
        "nation",
        "n_nationkey int PRIMARY KEY, n_name char(25) NOT NULL, n_regionkey int NOT NULL, n_comment varchar(152)",
    ),
    (
        "supplier",
        "s_suppkey int PRIMARY KEY, s_name char(25) NOT NULL, s_address varchar(40) NOT NULL, \
         s_nationkey int NOT NULL, s_phone char(15) NOT NULL, s_acctbal numeric(15,2) NOT NULL, \
         s_comment varchar(101) NOT NULL",
    ),
    (
        "part",
        "p_partkey int PRIMARY KEY, p_name varchar(55) NOT NULL, p_mfgr char(25) NOT NULL, p_brand char(10) NOT NULL, \
         p_type varchar(25) NOT NULL, p_size int NOT NULL, p_container char(10) NOT NULL, \
         p_retailprice numeric(15,2) NOT NULL, p_comment varchar(23) NOT NULL",
    ),
    (
        "partsupp",
        "ps_partkey int NOT NULL, ps_suppkey int NOT NULL, ps_availqty int NOT NULL, \
         ps_supplycost numeric(15,2) NOT NULL, ps_comment varchar(199) NOT NULL, PRIMARY KEY (ps_partkey, ps_suppkey)",
    ),
    (
        "customer",
        "c_custkey int PRIMARY KEY, c_name varchar(25) NOT NULL, c_address varchar(40) NOT NULL, \
         c_nationkey int NOT NULL, c_phone char(15) NOT NULL, c_acctbal numeric(15,2) NOT NULL, \
         c_mktsegment char(10) NOT NULL, c_comment varchar(117) NOT NULL",
    ),
    (
        "orders",
        "o_orderkey int PRIMARY KEY, o_custkey int NOT NULL, o_orderstatus char(1) NOT NULL, \
         o_totalprice numeric(15,2) NOT NULL, o_orderdate date NOT NULL, o_orderpriority char(15) NOT NULL, \
         o_clerk char(15) NOT NULL, o_shippriority int NOT NULL, o_comment varchar(79) NOT NULL",
    ),
    (
        "lineitem",
        "l_orderkey int NOT NULL, l_partkey int NOT NULL, l_suppkey int NOT NULL, l_linenumber int NOT NULL, \
         l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL, \
         l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL, \
         l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL, \
         l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL, \
         PRIMARY KEY (l_orderkey, l_linenumber)",
    ),
];

/// How many rows there are at the start.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub orders: u64,
    /// A multiple of four.
    suppliers: u64,
    parts: u64,
    customers: u64,
}

const REGIONS: [&str; 5] = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];
const NATIONS: [(&str, u64); 25] = [
    ("ALGERIA", 0),
    ("ARGENTINA", 1),
    ("BRAZIL", 1),
    ("CANADA", 1),
    ("EGYPT", 4),
    ("ETHIOPIA", 0),
    ("FRANCE", 3),
    ("GERMANY", 3),
    ("INDIA", 2),
    ("INDONESIA", 2),
    ("IRAN", 4),
    ("IRAQ", 4),
    ("JAPAN", 2),
    ("JORDAN", 4),
    ("KENYA", 0),
    ("MOROCCO", 0),
    ("MOZAMBIQUE", 0),
    ("PERU", 1),
    ("CHINA", 2),
    ("ROMANIA", 3),
    ("SAUDI ARABIA", 4),
    ("VIETNAM", 2),
    ("RUSSIA", 3),
    ("UNITED KINGDOM", 3),
    ("UNITED STATES", 1),
];
const SEGMENTS: [&str; 5] = ["AUTOMOBILE", "BUILDING", "FURNITURE", "MACHINERY", "HOUSEHOLD"];
const PRIORITIES: [&str; 5] = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"];
const MODES: [&str; 7] = ["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"];
const INSTRUCTIONS: [&str; 4] = ["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"];
const COLORS: [&str; 12] = [
    "forest",
    "green",
    "almond",
    "blue",
    "chocolate",
    "dim",
    "ivory",
    "lace",
    "navy",
    "olive",
    "puff",
    "snow",
];
const TYPES: [[&str; 3]; 3] =
    [["ECONOMY", "MEDIUM", "PROMO"], ["ANODIZED", "POLISHED", "PLATED"], ["STEEL", "BRASS", "TIN"]];
const BRANDS: [&str; 4] = ["Brand#12", "Brand#23", "Brand#34", "Brand#45"];
const CONTAINERS: [&str; 6] = ["SM CASE", "SM BOX", "MED BAG", "MED BOX", "LG CASE", "LG PKG"];
const SIZES: [u64; 10] = [1, 3, 5, 9, 14, 15, 19, 23, 45, 49];
const WORDS: [&str; 10] = [
    "furiously",
    "special",
    "requests",
    "deposits",
    "sleep",
    "quickly",
    "ironic",
    "packages",
    "among",
    "accounts",
];

impl Scale {
    /// So many thousandths of scale factor 1, at least two.
    pub const fn thousandths(n: u64) -> Scale {
        Scale { orders: 1500 * n, suppliers: 10 * n, parts: 200 * n, customers: 150 * n }
    }

    /// The rows of the small tables and the orders that are there at the start.
    pub fn initial(&self, table: &str) -> Vec<String> {
        match table {
            "region" => REGIONS.iter().enumerate().map(|(i, name)| format!("{i}\t{name}\t")).collect(),
            "nation" => {
                let row = |(i, (name, region)): (usize, &(&str, u64))| format!("{i}\t{name}\t{region}\t");
                NATIONS.iter().enumerate().map(row).collect()
            }
            "supplier" => (1..=self.suppliers).map(supplier).collect(),
            "part" => (1..=self.parts).map(part).collect(),
            "partsupp" => {
                (1..=self.parts).flat_map(|part| (0..4).map(move |i| self.part_supplier(part, i))).collect()
            }
            "customer" => (1..=self.customers).map(customer).collect(),
            "orders" => (1..=self.orders).map(|key| self.order(key).0).collect(),
            "lineitem" => (1..=self.orders).flat_map(|key| self.order(key).1).collect(),
            other => panic!("no table {other}"),
        }
    }

    /// An order and its line items.
    pub fn order(&self, key: u64) -> (String, Vec<String>) {
        let mut dice = Dice::new("order", key);
        let date = day(dice.below(2400));
        let mut lines = Vec::new();
        let (mut total, mut shipped) = (0, 0);
        let count = 1 + dice.below(7);
        for number in 1..=count {
            let (line, price, is_shipped) = self.line_item(key, number, date, &mut dice);
            lines.push(line);
            total += price;
            shipped += u64::from(is_shipped);
        }
        // Every third customer never orders.
        let customer = 1 + dice.below(self.customers / 3) * 3 + dice.below(2);
        let status = if shipped == count {
            'F'
        } else if shipped == 0 {
            'O'
        } else {
            'P'
        };
        let (priority, clerk, comment) = (dice.choose(&PRIORITIES), 1 + dice.below(2), dice.words(6));
        let order = format!(
            "{key}\t{customer}\t{status}\t{}\t{date}\t{priority}\tClerk#{clerk:09}\t0\t{comment}",
            money(total as i64)
        );
        (order, lines)
    }

    /// The line, its price with tax and discount in cents, and whether it was shipped before the current date.
    fn line_item(&self, order: u64, number: u64, ordered: NaiveDate, dice: &mut Dice) -> (String, u64, bool) {
        let today = day(1263);
        let part = 1 + dice.below(self.parts);
        let supplier = self.supplier_of(part, dice.below(4));
        let quantity = 1 + dice.below(50);
        let price = quantity * retail_cents(part);
        let (discount, tax) = (dice.below(11), dice.below(9));
        let shipped = ordered + Days::new(1 + dice.below(121));
        let committed = ordered + Days::new(30 + dice.below(61));
        let received = shipped + Days::new(1 + dice.below(30));
        let flag = if received > today { 'N' } else { ['R', 'A'][dice.below(2) as usize] };
        let status = if shipped > today { 'O' } else { 'F' };
        let line = format!(
            "{order}\t{part}\t{supplier}\t{number}\t{quantity}\t{}\t0.{discount:02}\t0.{tax:02}\t{flag}\t{status}\t\
         {shipped}\t{committed}\t{received}\t{}\t{}\t{}",
            money(price as i64),
            dice.choose(&INSTRUCTIONS),
            dice.choose(&MODES),
            dice.words(3)
        );
        (line, price * (100 - discount) * (100 + tax) / 10_000, status == 'F')
    }

    fn part_supplier(&self, part: u64, i: u64) -> String {
        let mut dice = Dice::new("partsupp", part * 4 + i);
        let supplier = self.supplier_of(part, i);
        let (quantity, cost) = (1 + dice.below(9999), money(100 + dice.below(99_900) as i64));
        format!("{part}\t{supplier}\t{quantity}\t{cost}\t{}", dice.words(5))
    }

    /// The `i`th of a part's four suppliers.
    fn supplier_of(&self, part: u64, i: u64) -> u64 {
        (part + i * (self.suppliers / 4 + part / self.suppliers % 5)) % self.suppliers + 1
    }
}

fn supplier(key: u64) -> String {
    let (mut dice, nation) = (Dice::new("supplier", key), key % 25);
    let complaint = if key % 5 == 4 { "Customer careful Complaints" } else { "" };
    let (balance, comment) = (money(dice.below(1_100_000) as i64 - 100_000), dice.words(4));
    format!(
        "{key}\tSupplier#{key:09}\tstreet {key}\t{nation}\t{}\t{balance}\t{comment}{complaint}",
        dice.phone(nation)
    )
}

fn part(key: u64) -> String {
    let mut dice = Dice::new("part", key);
    let name = [dice.choose(&COLORS), dice.choose(&COLORS), dice.choose(&COLORS)].join(" ");
    let kind = TYPES.map(|words| dice.choose(&words)).join(" ");
    let (brand, size) = (dice.choose(&BRANDS), SIZES[dice.below(10) as usize]);
    let (container, maker) = (dice.choose(&CONTAINERS), &brand[6..7]);
    let price = money(retail_cents(key) as i64);
    format!(
        "{key}\t{name}\tManufacturer#{maker}\t{brand}\t{kind}\t{size}\t{container}\t{price}\t{}",
        dice.words(2)
    )
}

fn customer(key: u64) -> String {
    let mut dice = Dice::new("customer", key);
    let nation = dice.below(25);
    let balance = money(dice.below(1_100_000) as i64 - 100_000);
    let (segment, comment) = (dice.choose(&SEGMENTS), dice.words(5));
    let phone = dice.phone(nation);
    format!("{key}\tCustomer#{key:09}\troad {key}\t{nation}\t{phone}\t{balance}\t{segment}\t{comment}")
}

fn retail_cents(part: u64) -> u64 {
    90_000 + (part / 10) % 20_001 + 100 * (part % 1000)
}

fn day(after: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(1992, 1, 1).expect("a day of the calendar") + Days::new(after)
}

fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

/// Random numbers that belong to a row (SplitMix64).
struct Dice(u64);

impl Dice {
    fn new(table: &str, key: u64) -> Dice {
        Dice(table.bytes().fold(key, |seed, byte| seed.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn choose<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[self.below(among.len() as u64) as usize]
    }

    fn words(&mut self, count: usize) -> String {
        let mut text = String::new();
        for _ in 0..count {
            text.push_str(self.choose(&WORDS));
            text.push(' ');
        }
        text
    }

    fn phone(&mut self, nation: u64) -> String {
        let part =
            |dice: &mut Dice, digits: u32| 10u64.pow(digits - 1) + dice.below(9 * 10u64.pow(digits - 1));
        format!("{}-{}-{}-{}", nation + 10, part(self, 3), part(self, 3), part(self, 4))
    }
}

use clap::CommandFactory;
use spillway_contracts::order::v1::OrderState;

use super::*;
use crate::output::{Exit, Failure};

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn every_command_is_well_formed_and_says_what_it_is() {
    let mut command = Cli::command();
    command.build();
    command.clone().debug_assert();
    let mut silent = Vec::new();
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        let mute = command.get_arguments().filter(|arg| arg.get_help().is_none()).map(|arg| arg.get_id().to_string());
        silent.extend(mute.map(|arg| format!("{} {arg}", command.get_name())));
        if command.get_about().is_none() {
            silent.push(command.get_name().to_owned());
        }
        left.extend(command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned());
    }
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn a_flag_of_every_command_may_stand_anywhere() {
    for line in ["spillway --json --timeout 2s stock list", "spillway stock list --timeout 2s --json"] {
        let cli = parsed(line).unwrap();
        assert_eq!((cli.global.json, cli.global.timeout), (true, Some(Duration::from_secs(2))), "{line}");
    }
}

#[test]
fn the_data_directory_is_a_setting_like_any_other_and_the_last_one() {
    let cli = parsed("spillway --data-dir /tmp/d verify --set data.dir=/tmp/e --set order.listen=[::1]:1").unwrap();
    let expected = [("data.dir", "/tmp/e"), ("order.listen", "[::1]:1"), ("data.dir", "/tmp/d")];
    assert_eq!(cli.global.overrides(), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[test]
fn what_cannot_be_understood_exits_with_64_and_help_with_0() {
    let parse = |line: &str| parse(line.split_whitespace().map(OsString::from)).unwrap_err().0;
    for line in [
        "spillway",
        "spillway ordr list",
        "spillway order place --buyer ada",
        "spillway order place --buyer ada --line TEE=many",
        "spillway stock adjust TEE --by 1.5 --reason x",
        "spillway --json order list --state lost",
        "spillway events replay",
        "spillway events replay --all",
        "spillway events replay first --consumer order.shipments",
    ] {
        let Idle::Wrong(why) = parse(line) else { panic!("{line} is understood") };
        assert_eq!(Failure::arguments(&why).exit(), Exit::Usage, "{line}");
    }
    for line in ["spillway --help", "spillway order help place", "spillway --version"] {
        assert!(matches!(parse(line), Idle::Help(_)), "{line}");
    }
}

#[test]
fn stock_can_be_taken_out() {
    assert!(parsed("spillway stock adjust TEE --by -3 --reason broken").is_ok());
}

#[test]
fn amounts_are_read_without_floats() {
    let read = |text: &str| values::money(text).map(|money| (money.units, money.nanos, money.currency_code));
    let eur = |units, nanos| Ok((units, nanos, "EUR".to_owned()));
    assert_eq!(read("12.30EUR"), eur(12, 300_000_000));
    assert_eq!(read(" 12.3 eur "), eur(12, 300_000_000));
    assert_eq!(read("0.05EUR"), eur(0, 50_000_000));
    assert_eq!(read("007EUR"), eur(7, 0));
    assert_eq!(read("1200JPY"), Ok((1_200, 0, "JPY".to_owned())));
    assert_eq!(read("1.005BHD"), Ok((1, 5_000_000, "BHD".to_owned())));
    for wrong in ["", "12.30", "EUR", "12.EUR", ".5EUR", "12,30EUR", "-1EUR", "1e3EUR", "12.30EURO", "1.2.3EUR"] {
        let told = read(wrong).unwrap_err();
        assert!(told.contains("12.30EUR"), "{wrong}: {told}");
    }
    assert_eq!(read("12.345EUR"), Err("EUR has 2 decimal places, not 3".to_owned()));
    assert_eq!(read("1.5JPY"), Err("JPY has no decimal places".to_owned()));
    assert_eq!(read("99999999999999999999EUR"), Err("is too large".to_owned()));
    assert_eq!(read("92233720368547758.08EUR"), Err("is too large".to_owned()));
}

#[test]
fn lines_name_a_sku_and_how_many() {
    let read = |text: &str| values::line(text).map(|line| (line.sku, line.quantity)).ok();
    assert_eq!(read("TEE-BLACK.M:eu@1=2"), Some(("TEE-BLACK.M:eu@1".to_owned(), 2)));
    assert_eq!(read("TEE"), Some(("TEE".to_owned(), 1)));
    assert_eq!((read("=2"), read("TEE="), read("TEE=-1"), read("TEE=two"), read("")), (None, None, None, None, None));
}

#[test]
fn times_have_units() {
    let read = |text: &str| values::duration(text).ok();
    let millis = |millis| Some(Duration::from_millis(millis));
    assert_eq!(
        (read("500ms"), read("5s"), read("5"), read("2m")),
        (millis(500), millis(5_000), millis(5_000), millis(120_000))
    );
    assert_eq!((read("0s"), read("-5s"), read("soon"), read("5h"), read("")), (None, None, None, None, None));
}

#[test]
fn states_are_typed_as_they_are_shown() {
    assert_eq!(values::order_state("awaiting-payment"), Ok(OrderState::AwaitingPayment));
    assert_eq!(values::order_state("AWAITING_PAYMENT"), Ok(OrderState::AwaitingPayment));
    let told = values::order_state("lost").unwrap_err();
    assert!(told.starts_with("must be one of pending, awaiting-payment, paid,"), "{told}");
    assert!(values::order_state("unspecified").is_err(), "that is not a state that an order can be in");
}

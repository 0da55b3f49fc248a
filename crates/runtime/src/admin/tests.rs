use super::*;

#[test]
fn an_empty_address_is_no_listener_and_a_wrong_one_is_an_error() {
    assert_eq!("".parse::<AdminAddress>().unwrap().get(), None);
    assert_eq!("127.0.0.1:7490".parse::<AdminAddress>().unwrap().to_string(), "127.0.0.1:7490");
    assert_eq!("nowhere".parse::<AdminAddress>(), Err(BadAddress));
}

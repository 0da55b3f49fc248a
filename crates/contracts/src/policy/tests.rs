use std::collections::{BTreeMap, BTreeSet};

use prost_types::{DescriptorProto, EnumDescriptorProto, field_descriptor_proto::Type};

use super::*;

fn ours() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    set.file.into_iter().filter(|file| file.package().starts_with("spillway.")).collect()
}

#[test]
fn every_method_says_what_calling_it_twice_does() {
    let methods: Vec<_> = methods().collect();
    assert!(methods.len() >= 39, "only {} methods found", methods.len());
    for method in &methods {
        assert!(method.idempotency.is_safe_to_repeat(), "{} does not say its idempotency_level", method.path);
        let verb = method.path.rsplit('/').next().unwrap();
        let reads = ["Get", "List", "Lookup", "Watch"].iter().any(|prefix| verb.starts_with(prefix));
        assert_eq!(method.idempotency == Idempotency::NoSideEffects, reads, "{}", method.path);
        assert_eq!(method.server_streaming, verb.starts_with("Watch"), "{}", method.path);
    }
}

#[test]
fn every_mutating_request_carries_a_request_id() {
    let reads = ["Get", "List", "Watch", "Explain"];
    for file in ours() {
        for message in file.message_type.iter().filter(|message| message.name().ends_with("Request")) {
            if reads.iter().any(|prefix| message.name().starts_with(prefix)) {
                continue;
            }
            let has = message.field.iter().any(|field| field.name() == "request_id" && field.r#type() == Type::String);
            assert!(has, "{} has no request_id", message.name());
        }
    }
}

#[test]
fn the_services_are_those_that_are_served() {
    let names: BTreeSet<_> = services().collect();
    let expected = [
        "spillway.admin.v1.EventService",
        "spillway.fulfilment.v1.FulfilmentService",
        "spillway.fulfilment.v1.WarehouseService",
        "spillway.inventory.v1.InventoryService",
        "spillway.order.v1.OrderService",
        "spillway.orchestrator.v1.CheckoutService",
        "spillway.orchestrator.v1.SagaService",
        "spillway.payment.v1.PaymentService",
        "spillway.payment.v1.WalletService",
    ];
    assert_eq!(names, expected.into_iter().map(str::to_owned).collect());
}

#[test]
fn everything_that_a_caller_sees_has_a_comment() {
    let mut bare = Vec::new();
    let mut seen = 0;
    for file in ours() {
        let comments: BTreeMap<&[i32], &str> = file
            .source_code_info
            .iter()
            .flat_map(|info| &info.location)
            .map(|location| (location.path.as_slice(), location.leading_comments().trim()))
            .collect();
        for (path, name) in elements(&file) {
            seen += 1;
            if comments.get(path.as_slice()).is_none_or(|comment| comment.is_empty()) {
                bare.push(format!("{}: {name}", file.name()));
            }
        }
    }
    assert!(seen > 500, "only {seen} elements found");
    assert!(bare.is_empty(), "without a comment: {bare:#?}");
}

/// The path (by field numbers of `descriptor.proto`) and name of everything in a file that needs a comment.
fn elements(file: &FileDescriptorProto) -> Vec<(Vec<i32>, String)> {
    let mut found = Vec::new();
    for (message, path) in file.message_type.iter().zip(paths(&[4])) {
        elements_of_message(message, path, &mut found);
    }
    for (r#enum, path) in file.enum_type.iter().zip(paths(&[5])) {
        elements_of_enum(r#enum, path, &mut found);
    }
    for (service, path) in file.service.iter().zip(paths(&[6])) {
        let methods = service.method.iter().zip(paths(&[path.as_slice(), &[2]].concat()));
        found.extend(methods.map(|(method, path)| (path, format!("{}.{}", service.name(), method.name()))));
        found.push((path, service.name().to_owned()));
    }
    found
}

fn elements_of_message(message: &DescriptorProto, path: Vec<i32>, found: &mut Vec<(Vec<i32>, String)>) {
    let inside = |number: i32| paths(&[path.as_slice(), &[number]].concat());
    let fields = message.field.iter().zip(inside(2));
    found.extend(fields.map(|(field, path)| (path, format!("{}.{}", message.name(), field.name()))));
    for (nested, path) in message.nested_type.iter().zip(inside(3)) {
        elements_of_message(nested, path, found);
    }
    for (r#enum, path) in message.enum_type.iter().zip(inside(4)) {
        elements_of_enum(r#enum, path, found);
    }
    found.push((path, message.name().to_owned()));
}

fn elements_of_enum(r#enum: &EnumDescriptorProto, path: Vec<i32>, found: &mut Vec<(Vec<i32>, String)>) {
    let values = r#enum.value.iter().zip(paths(&[path.as_slice(), &[2]].concat()));
    found.extend(values.map(|(value, path)| (path, value.name().to_owned())));
    found.push((path, r#enum.name().to_owned()));
}

/// `prefix` with 0, 1, 2 and so on behind it.
fn paths(prefix: &[i32]) -> impl Iterator<Item = Vec<i32>> + use<> {
    let prefix = prefix.to_vec();
    (0..).map(move |index| [prefix.as_slice(), &[index]].concat())
}

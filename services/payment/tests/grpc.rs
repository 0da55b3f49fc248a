//! The service as its callers see it: over real gRPC, with the sandbox behind it.
#![expect(clippy::unwrap_used, reason = "a test ends where an answer is not what it must be")]
#![expect(clippy::print_stderr, reason = "shown when a test fails, it says where")]

use spillway_contracts::{
    convert::to_money,
    payment::v1::{
        AuthorizeRequest, CaptureRequest, CouponState, GetPaymentRequest, GetWalletRequest, GrantPointsRequest,
        IssueCouponRequest, ListPaymentsRequest, Payment, PaymentState, RefundRequest, TenderState, VoidRequest,
        payment_service_client::PaymentServiceClient, wallet_service_client::WalletServiceClient,
    },
};
use spillway_middleware::status::to_fault;
use spillway_payment::{Config, Service, config::DEFAULTS};
use spillway_runtime::{ServerConfig, config::load, policies};
use spillway_storage::Resources;
use spillway_testkit::servers;
use spillway_types::{Fault, Money, Reason, RequestId};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, transport::Channel};

#[derive(serde::Deserialize)]
struct Settings {
    payment: Config,
}

impl spillway_runtime::config::Validate for Settings {
    fn validate(&self, errors: &mut Vec<String>) {
        self.payment.validate("payment", errors);
    }
}

struct Served {
    payments: PaymentServiceClient<Channel>,
    wallets: WalletServiceClient<Channel>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

/// Where the service's state is: an address, and the directory of what is no address.
struct Place(String, TempDir);

async fn places(name: &str) -> [Place; 2] {
    let server = servers::postgres().await.fresh(&format!("payment grpc {name}")).await;
    ["sqlite:".to_owned(), server].map(|url| Place(url, tempfile::tempdir().unwrap()))
}

async fn serve(Place(url, directory): &Place) -> Served {
    // Shown when the test fails.
    eprintln!("in {url}");
    let overrides = [("payment.database".to_owned(), url.clone())];
    let settings: Settings = load(DEFAULTS, None, std::iter::empty(), &overrides).unwrap();
    let service = Service::open(settings.payment, &Resources::in_directory(directory.path())).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let serving = tokio::spawn(async move {
        service.serve(&ServerConfig::default(), &policies(), listener, stop).await.unwrap();
    });
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    let wallets = WalletServiceClient::new(channel.clone());
    Served { payments: PaymentServiceClient::new(channel), wallets, shutdown, serving }
}

impl Served {
    async fn stop(self) {
        let Self { shutdown, serving, .. } = self;
        shutdown.cancel();
        serving.await.unwrap();
    }
}

fn key() -> String {
    RequestId::random().to_string()
}

fn eur(minor: i64) -> Option<spillway_contracts::google::type_::Money> {
    Some(to_money(Money::new(minor, "EUR".parse().unwrap())))
}

fn authorize(order: &str, instrument: &str) -> AuthorizeRequest {
    AuthorizeRequest {
        request_id: key(),
        order_id: order.to_owned(),
        buyer_id: "ada".to_owned(),
        amount: eur(5_000),
        coupon_code: String::new(),
        points: 0,
        instrument: instrument.to_owned(),
        expected_total: None,
    }
}

fn void(order: &str) -> VoidRequest {
    VoidRequest { request_id: key(), payment_id: order.to_owned(), reason: "test".to_owned(), only_if_unpaid: false }
}

fn capture(order: &str) -> CaptureRequest {
    CaptureRequest { request_id: key(), payment_id: order.to_owned() }
}

fn fault<T: std::fmt::Debug>(result: Result<Response<T>, Status>) -> Fault {
    to_fault(&result.unwrap_err())
}

fn amounts(payment: &Payment) -> [i64; 5] {
    [&payment.amount, &payment.discount, &payment.total, &payment.captured, &payment.refunded]
        .map(|money| money.as_ref().map_or(0, |money| money.units * 100 + i64::from(money.nanos / 10_000_000)))
}

#[tokio::test]
async fn an_order_is_paid_with_coupon_points_and_card_and_given_back() {
    for place in places("paid").await {
        let Served { mut payments, mut wallets, shutdown, serving } = serve(&place).await;
        let (buyer_id, order) = ("ada".to_owned(), key());
        let grant =
            GrantPointsRequest { request_id: key(), buyer_id: buyer_id.clone(), points: 500, reason: "hi".to_owned() };
        let coupon = IssueCouponRequest {
            request_id: key(),
            buyer_id: buyer_id.clone(),
            code: "TEN".to_owned(),
            discount: eur(1_000),
            minimum: eur(2_000),
            expire_time: None,
        };
        for _ in 0..2 {
            let wallet = wallets.grant_points(grant.clone()).await.unwrap().into_inner().wallet.unwrap();
            assert_eq!(wallet.points, 500, "once, however often it is asked for");
            wallets.issue_coupon(coupon.clone()).await.unwrap();
        }
        let twice = IssueCouponRequest { request_id: key(), ..coupon };
        assert_eq!(fault(wallets.issue_coupon(twice).await).reason, Reason::AlreadyExists);

        let request = AuthorizeRequest {
            coupon_code: "TEN".to_owned(),
            points: 500,
            expected_total: eur(4_000),
            ..authorize(&order, "sandbox:approved")
        };
        let held = payments.authorize(request.clone()).await.unwrap().into_inner().payment.unwrap();
        assert_eq!((held.state(), amounts(&held)), (PaymentState::Authorized, [5_000, 1_000, 4_000, 0, 0]));
        assert!(held.tenders.len() == 3 && held.tenders.iter().all(|tender| tender.state() == TenderState::Held));
        let again = payments.authorize(AuthorizeRequest { request_id: key(), ..request }).await.unwrap().into_inner();
        assert_eq!(again.payment.as_ref(), Some(&held));

        let taken = payments.capture(capture(&order)).await.unwrap().into_inner().payment.unwrap();
        assert_eq!((taken.state(), amounts(&taken)[3]), (PaymentState::Captured, 4_000));
        let late = payments.void(void(&order)).await.unwrap().into_inner().payment.unwrap();
        assert_eq!(late.state(), PaymentState::Captured, "past the pivot nothing changes");
        let refund =
            RefundRequest { request_id: key(), payment_id: order.clone(), amount: eur(4_000), reason: String::new() };
        let back = payments.refund(refund).await.unwrap().into_inner().payment.unwrap();
        assert_eq!((back.state(), amounts(&back)[4]), (PaymentState::Refunded, 4_000));

        let wallet = wallets.get_wallet(GetWalletRequest { buyer_id }).await.unwrap().into_inner().wallet.unwrap();
        assert_eq!((wallet.points, wallet.points_held, wallet.coupons[0].state()), (500, 0, CouponState::Spent));
        let read = payments.get_payment(GetPaymentRequest { payment_id: order }).await.unwrap().into_inner();
        assert_eq!(read.payment, Some(back));
        let list = ListPaymentsRequest {
            states: vec![PaymentState::Refunded.into()],
            page_size: 1,
            page_token: String::new(),
        };
        assert_eq!(payments.list_payments(list).await.unwrap().into_inner().payments, [read.payment.unwrap()]);
        drop((payments, wallets));
        shutdown.cancel();
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn errors_say_what_is_wrong_and_refusals_outlive_a_restart() {
    for place in places("errors").await {
        let mut served = serve(&place).await;
        let malformed = AuthorizeRequest { order_id: "7".to_owned(), amount: None, points: -1, ..authorize("", "") };
        let told = fault(served.payments.authorize(malformed).await);
        let fields: Vec<_> = told.fields.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!((told.reason, fields), (Reason::InvalidRequest, vec!["order_id", "amount", "points"]));

        let (declined, unknown, gone) = (key(), key(), key());
        let no = fault(served.payments.authorize(authorize(&declined, "sandbox:declined")).await);
        assert_eq!((no.reason, no.is_recorded()), (Reason::PaymentDeclined, true));
        let told = fault(served.payments.authorize(authorize(&unknown, "cowries")).await);
        assert!(told.is_recorded() && told.fields[0].description.contains("sandbox:approved"), "{told:?}");
        served.payments.void(void(&gone)).await.unwrap();
        assert_eq!(fault(served.payments.capture(capture(&key())).await).reason, Reason::NotFound);
        served.stop().await;

        let mut served = serve(&place).await;
        assert_eq!(fault(served.payments.authorize(authorize(&declined, "sandbox:declined")).await), no);
        let other = AuthorizeRequest { points: 1, ..authorize(&declined, "sandbox:declined") };
        assert_eq!(fault(served.payments.authorize(other).await).reason, Reason::RequestIdReused);
        let late = fault(served.payments.authorize(authorize(&gone, "sandbox:approved")).await);
        assert_eq!(late.reason, Reason::Cancelled, "the tombstone stands");
        served.stop().await;
    }
}

#[tokio::test]
async fn replicas_are_one_service_and_one_provider_whoever_is_asked() {
    let [_, place] = places("replicas").await;
    // At once, as a deployment starts them: one of them makes the tables.
    let (mut one, mut two) = tokio::join!(serve(&place), serve(&place));
    let order = key();
    let request = authorize(&order, "sandbox:approved");
    let held = one.payments.authorize(request.clone()).await.unwrap().into_inner();
    assert_eq!(two.payments.authorize(request).await.unwrap().into_inner(), held);
    two.payments.capture(capture(&order)).await.unwrap();
    let late = one.payments.void(void(&order)).await.unwrap().into_inner().payment.unwrap();
    assert_eq!(late.state(), PaymentState::Captured);
    one.stop().await;
    let refund =
        RefundRequest { request_id: key(), payment_id: order.clone(), amount: eur(5_000), reason: String::new() };
    let back = two.payments.refund(refund).await.unwrap().into_inner().payment.unwrap();
    assert_eq!((back.state(), amounts(&back)[4]), (PaymentState::Refunded, 5_000));
    two.stop().await;
}

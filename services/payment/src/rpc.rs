//! Payments and wallets over gRPC: one file a verb; each parses, decides, answers.

use std::sync::Arc;

use spillway_contracts::payment::v1::{
    AuthorizeRequest, AuthorizeResponse, CaptureRequest, CaptureResponse, GetPaymentRequest, GetPaymentResponse,
    GetWalletRequest, GetWalletResponse, GrantPointsRequest, GrantPointsResponse, IssueCouponRequest,
    IssueCouponResponse, ListPaymentsRequest, ListPaymentsResponse, RefundRequest, RefundResponse, VoidRequest,
    VoidResponse, payment_service_server::PaymentService, wallet_service_server::WalletService,
};
use spillway_middleware::status::from_fault;
use spillway_storage::Committer;
use spillway_types::{Clock, Fault};
use tonic::{Request, Response, Status};

use crate::{
    store::{Reader, Till},
    worker::settle::Settler,
};

mod authorize;
mod capture;
mod convert;
mod get_payment;
mod get_wallet;
mod grant_points;
mod issue_coupon;
mod list_payments;
mod refund;
mod void;

/// The service's handlers.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) settler: Settler,
    pub(crate) committer: Committer<Till>,
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) clock: Arc<dyn Clock>,
}

type Answered<T> = Result<Response<T>, Status>;

fn answered<T>(result: Result<T, Fault>) -> Answered<T> {
    result.map(Response::new).map_err(from_fault)
}

#[tonic::async_trait]
impl PaymentService for Api {
    async fn authorize(&self, request: Request<AuthorizeRequest>) -> Answered<AuthorizeResponse> {
        answered(authorize::handle(self, request.into_inner()).await)
    }

    async fn capture(&self, request: Request<CaptureRequest>) -> Answered<CaptureResponse> {
        answered(capture::handle(self, request.into_inner()).await)
    }

    async fn void(&self, request: Request<VoidRequest>) -> Answered<VoidResponse> {
        answered(void::handle(self, request.into_inner()).await)
    }

    async fn refund(&self, request: Request<RefundRequest>) -> Answered<RefundResponse> {
        answered(refund::handle(self, request.into_inner()).await)
    }

    async fn get_payment(&self, request: Request<GetPaymentRequest>) -> Answered<GetPaymentResponse> {
        answered(get_payment::handle(self, request.into_inner()).await)
    }

    async fn list_payments(&self, request: Request<ListPaymentsRequest>) -> Answered<ListPaymentsResponse> {
        answered(list_payments::handle(self, request.into_inner()).await)
    }
}

#[tonic::async_trait]
impl WalletService for Api {
    async fn grant_points(&self, request: Request<GrantPointsRequest>) -> Answered<GrantPointsResponse> {
        answered(grant_points::handle(self, request.into_inner()).await)
    }

    async fn issue_coupon(&self, request: Request<IssueCouponRequest>) -> Answered<IssueCouponResponse> {
        answered(issue_coupon::handle(self, request.into_inner()).await)
    }

    async fn get_wallet(&self, request: Request<GetWalletRequest>) -> Answered<GetWalletResponse> {
        answered(get_wallet::handle(self, request.into_inner()).await)
    }
}

//! The exchange service. In: a token or a certificate, and a key. Out: a certificate for that key, or a refusal in words.

use std::sync::Arc;

use jiff::Timestamp;
use switchyard_discovery::identity::proto::identity_server::Identity as Service;
use switchyard_discovery::identity::proto::{ExchangeRequest, ExchangeResponse};
use switchyard_discovery::identity::server::Peer;
use switchyard_discovery::identity::{Claim, KeyRequest};
use switchyard_discovery::peer::PeerIdentity;
use tonic::{Request, Response, Status};

use super::Shared;
use super::admit::{Proof, admit};
use super::refusal::Refusal;

/// The exchange service; clones share everything.
#[derive(Clone)]
pub struct Exchange(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl Service for Exchange {
    async fn exchange(
        &self,
        request: Request<ExchangeRequest>,
    ) -> Result<Response<ExchangeResponse>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let address = peer.as_ref().map(|peer| peer.address);
        let outcome = self.0.exchange(peer, request.into_inner()).await;
        match outcome {
            Ok((response, identity, proof)) => {
                tracing::info!(%identity, ?address, by_token = matches!(proof, Proof::Token(_)), "certificate issued");
                self.0.metrics.issued(&proof);
                Ok(Response::new(response))
            }
            Err(refusal) => {
                let reason = refusal.reason();
                tracing::warn!(%refusal, reason, ?address, "certificate refused");
                self.0.metrics.refused(&refusal);
                Err(refusal.into())
            }
        }
    }
}

impl Shared {
    async fn exchange(
        &self,
        peer: Option<Peer>,
        request: ExchangeRequest,
    ) -> Result<(ExchangeResponse, PeerIdentity, Proof), Refusal> {
        let key = KeyRequest::from_der(&request.csr)?;
        let proof = self.proof(peer, &request.token).await?;
        let (namespace, pod) = proof.pod();
        let identity = admit(&proof, (self.pods)(namespace, pod), &key.wanted)?;
        let now = Timestamp::now();
        let live = self.live.borrow().clone();
        let certificate = live
            .authority
            .issue_client(&key, &identity, now, self.lifetimes.certificate)
            .map_err(|error| Refusal::CannotSign(error.to_string()))?;
        let response = ExchangeResponse {
            chain: vec![certificate.to_vec()],
            bundle: live.bundle.iter().map(|one| one.to_vec()).collect(),
        };
        Ok((response, identity, proof))
    }

    /// The token counts, if there is one: whoever sends it has reason not to trust its certificate.
    async fn proof(&self, peer: Option<Peer>, token: &str) -> Result<Proof, Refusal> {
        if !token.is_empty() {
            return Ok(Proof::Token(self.keys.verify(token).await?));
        }
        match peer {
            None
            | Some(Peer {
                claim: Claim::Nobody, ..
            }) => Err(Refusal::NoProof),
            Some(peer) => peer
                .identity(Timestamp::now())
                .map(|identity| Proof::Certificate(identity.clone()))
                .map_err(Refusal::Certificate),
        }
    }
}

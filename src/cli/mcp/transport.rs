//! Standard input and output, whose client may say anything before it opens a session, and go away before all is answered.

use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, JsonRpcMessage, RequestId,
    ServerJsonRpcMessage,
};
use rmcp::service::RoleServer;
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use std::collections::HashSet;
use std::io::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{Stdin, Stdout};
use tokio::sync::Notify;

/// How long what was asked may still be answered after the input has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages, one on each line. Before a session is opened, what asks for nothing is passed over: the library would end
/// the server with it. The end of the input is passed on when all that was asked is answered: `printf … | mlxplan mcp`
/// answers too.
pub(super) struct Patient {
    inner: AsyncRwTransport<RoleServer, Stdin, Stdout>,
    opened: bool,
    unanswered: Arc<Unanswered>,
}

/// The requests that are not answered yet.
#[derive(Default)]
struct Unanswered {
    open: Mutex<HashSet<RequestId>>,
    answered: Notify,
}

impl Unanswered {
    fn change(&self, change: impl FnOnce(&mut HashSet<RequestId>)) {
        change(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner));
        self.answered.notify_one();
    }

    /// Notes what a message asks, or takes back.
    fn note(&self, message: &ClientJsonRpcMessage) {
        match message {
            JsonRpcMessage::Request(request) => {
                self.change(|open| _ = open.insert(request.id.clone()));
            }
            JsonRpcMessage::Notification(n) => {
                if let ClientNotification::CancelledNotification(canceled) = &n.notification
                    && let Some(id) = &canceled.params.request_id
                {
                    self.change(|open| _ = open.remove(id));
                }
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
        }
    }

    fn is_done(&self) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    async fn all_answered(&self) {
        while !self.is_done() {
            self.answered.notified().await;
        }
    }
}

impl Patient {
    /// The streams of this process.
    pub(super) fn new() -> Self {
        let inner = AsyncRwTransport::new_server(tokio::io::stdin(), tokio::io::stdout());
        Self { inner, opened: false, unanswered: Arc::default() }
    }
}

impl Transport<RoleServer> for Patient {
    type Error = Error;

    fn send(
        &mut self,
        item: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let answered = match &item {
            JsonRpcMessage::Response(response) => Some(response.id.clone()),
            JsonRpcMessage::Error(error) => error.id.clone(),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
        };
        let (sent, unanswered) = (self.inner.send(item), self.unanswered.clone());
        async move {
            let sent = sent.await;
            if let Some(id) = answered {
                unanswered.change(|open| _ = open.remove(&id));
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            let Some(message) = self.inner.receive().await else {
                let _ = tokio::time::timeout(PATIENCE, self.unanswered.all_answered()).await;
                return None;
            };
            if let JsonRpcMessage::Request(r) = &message {
                self.opened |= matches!(r.request, ClientRequest::InitializeRequest(_));
            } else if !self.opened {
                continue;
            }
            self.unanswered.note(&message);
            return Some(message);
        }
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.inner.close().await
    }
}

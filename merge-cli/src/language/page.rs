//! Texts of the queue's page.

texts! {
    QUEUE "Queue" "キュー"
}

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use super::{Direction, Fault, Proxy};

/// Long enough for loopback on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a silent connection is watched.
const SILENCE: Duration = Duration::from_millis(200);

/// A server that says `name`, then echoes.
async fn echo(name: u8) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                to.write_all(&[name]).await?;
                tokio::io::copy(&mut from, &mut to).await?;
                to.shutdown().await
            });
        }
    });
    address
}

async fn open(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// A connection to the server called `name`.
async fn greeted(proxy: &Proxy, name: u8) -> TcpStream {
    let mut stream = open(proxy).await;
    assert_eq!(read(&mut stream, 1).await, [name], "the server's name");
    stream
}

async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("bytes in time").unwrap();
    bytes
}

/// True when the connection ends, whichever way TCP tells of it.
async fn ends(stream: &mut TcpStream) -> bool {
    let ended: io::Result<usize> = timeout(PATIENCE, stream.read(&mut [0; 16])).await.expect("an end in time");
    !matches!(ended, Ok(1..))
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE, stream.read(&mut [0; 1])).await.is_err()
}

#[tokio::test]
async fn without_a_fault_everything_passes_and_the_end_does_too() {
    let proxy = Proxy::to(echo(b'a').await).await.unwrap();
    let mut stream = greeted(&proxy, b'a').await;
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (mut from, mut to) = stream.split();
    let mut heard = Vec::new();
    let send = async {
        to.write_all(&sent).await?;
        to.shutdown().await
    };
    timeout(PATIENCE, async { tokio::try_join!(send, from.read_to_end(&mut heard)) }).await.unwrap().unwrap();
    assert!(heard == sent, "{} bytes of {} came back in order", heard.len(), sent.len());
    assert_eq!(proxy.injected().total(), 0);
}

#[tokio::test]
async fn a_delay_holds_for_each_piece_and_not_for_their_sum() {
    const PIECES: u8 = 20;
    let delay = Duration::from_millis(150);
    let proxy = Proxy::to(echo(b'a').await).await.unwrap();
    let mut stream = greeted(&proxy, b'a').await;
    proxy.set(Direction::Down, Fault::Delay(delay));
    let began = Instant::now();
    for piece in 0..PIECES {
        stream.write_all(&[piece]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&mut stream, usize::from(PIECES)).await, (0..PIECES).collect::<Vec<_>>());
    let took = began.elapsed();
    assert!(took >= delay && took < delay * 10, "{took:?}");
    assert!(proxy.injected().delayed > 0, "{:?}", proxy.injected());
}

#[tokio::test]
async fn a_half_cut_lets_requests_through_and_answers_only_once_it_heals() {
    let proxy = Proxy::to(echo(b'a').await).await.unwrap();
    let mut stream = greeted(&proxy, b'a').await;
    proxy.set(Direction::Down, Fault::Hole);
    stream.write_all(b"lost?").await.unwrap();
    assert!(is_silent(&mut stream).await, "an answer came out of the hole");
    assert_eq!(proxy.injected().held, 1, "the server has heard and answered");
    proxy.heal();
    assert_eq!(read(&mut stream, 5).await, b"lost?");
}

#[tokio::test]
async fn a_hole_swallows_the_end_of_a_connection_as_well() {
    let proxy = Proxy::to(echo(b'a').await).await.unwrap();
    let mut stream = greeted(&proxy, b'a').await;
    proxy.set(Direction::Up, Fault::Hole);
    stream.shutdown().await.unwrap();
    assert!(is_silent(&mut stream).await, "the server heard of the end");
    proxy.heal();
    assert!(ends(&mut stream).await);
}

#[tokio::test]
async fn drips_come_slowly_and_whole() {
    let proxy = Proxy::to(echo(b'a').await).await.unwrap();
    let mut stream = greeted(&proxy, b'a').await;
    proxy.set(Direction::Up, Fault::Drip { bytes: 2, every: Duration::from_millis(20) });
    let began = Instant::now();
    stream.write_all(b"0123456789").await.unwrap();
    assert_eq!(read(&mut stream, 10).await, b"0123456789");
    assert!(began.elapsed() >= Duration::from_millis(80), "five drips with four pauses: {:?}", began.elapsed());
    assert_eq!(proxy.injected().dripped, 1);
}

#[tokio::test]
async fn a_cut_closes_what_there_is_and_whatever_comes_until_it_heals() {
    let proxy = Proxy::to(echo(b'a').await).await.unwrap();
    let mut stream = greeted(&proxy, b'a').await;
    proxy.set(Direction::Up, Fault::Cut);
    assert!(ends(&mut stream).await, "the connection that was there");
    assert!(ends(&mut open(&proxy).await).await, "a new one");
    assert!(proxy.injected().cut >= 2, "{:?}", proxy.injected());
    proxy.heal();
    greeted(&proxy, b'a').await;
}

#[tokio::test]
async fn a_new_target_takes_new_connections_and_severed_ones_come_anew() {
    let proxy = Proxy::to(echo(b'a').await).await.unwrap();
    let mut before = greeted(&proxy, b'a').await;
    proxy.retarget(echo(b'b').await);
    before.write_all(b"!").await.unwrap();
    assert_eq!(read(&mut before, 1).await, b"!", "it stays with its server");
    greeted(&proxy, b'b').await;
    proxy.sever();
    assert!(ends(&mut before).await);
    greeted(&proxy, b'b').await;
}

#[tokio::test]
async fn a_proxy_that_is_dropped_takes_its_connections_along() {
    let proxy = Proxy::to(echo(b'a').await).await.unwrap();
    let mut stream = greeted(&proxy, b'a').await;
    let address = proxy.address();
    drop(proxy);
    assert!(ends(&mut stream).await);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

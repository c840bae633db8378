"""Closed sets of values of FIX fields, for `netcore.fix.dictionary`.

What may live here: data only. These are the fields that FIX 4.4 or FIXT 1.1 enumerate,
with the values of all versions (FIX 4.0 to FIX 5.0 SP2), so that no counterparty is
refused for knowing a later one. Left out are fields whose enumerated values are not all
they may have, IOIQty (27) and NoSides (552). Y/N fields are of type BOOLEAN instead
(`netcore.fix.tables.TYPES`).
"""

__all__ = ["ENUMS"]

ENUMS = {
    4: "B S T X",
    5: "C N R",
    13: "1 2 3 4 5 6 7 8",
    18: (
        "0 1 2 3 4 5 6 7 8 9 A B C D E F G H I J K L M N O P Q R S T U V W X Y Z a "
        "b c d e f g h i j k l m n o p q r s t u v w x y z"
    ),
    21: "1 2 3",
    22: "1 2 3 4 5 6 7 8 9 A B C D E F G H I J K L M N P Q R S T U V W X Y",
    25: "H L M",
    28: "C N R",
    29: "1 2 3 4 5",
    39: "0 A B C D E 1 2 3 4 5 6 7 8 9",
    40: "1 2 3 4 5 6 7 8 9 A B C D E F G H I J K L M P Q R S",
    47: "A B C D E F H I J K L M N O P R S T U W X Y Z",
    54: "1 2 3 4 5 6 7 8 9 A B C D E F G H",
    59: "0 1 2 3 4 5 6 7 8 9 A B C",
    61: "0 1 2",
    63: "0 1 2 3 4 5 6 7 8 9 A B C",
    71: "0 1 2 3 4 5 6",
    77: "C D F N O R",
    81: "0 1 2 3 4 5 6",
    87: "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14",
    88: (
        "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 "
        "28 99"
    ),
    94: "0 1 2",
    98: "0 1 2 3 4 5 6",
    100: "0 4",
    102: "0 1 2 3 4 5 6 7 8 18 99",
    103: (
        "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 18 19 20 21 22 23 24 25 26 27 28 "
        "29 99"
    ),
    104: "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z a b c d n 1 2 3 4",
    127: "A B C D E F G Z",
    139: (
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 "
        "29 30 31 32 33 34 35 36"
    ),
    150: "0 A B C D E F G H I J K L M N 1 2 3 4 5 6 7 8 9",
    156: "D M",
    160: "0 1 2 3 4 5",
    163: "C N R T",
    165: "1 2 3",
    167: (
        "AN BA BN CB CD CL CN CP CS DN DR FN GN GO MF MN MT PN PS RP SL TB TD ABS "
        "BAB BDN BOX CAN CAP CDS CFD CMB CMO CPP CTB ETC ETF ETN FAC FHA FHL FLR "
        "FOR FRA FRN FUT FWD IET IRS JCD LQN MBS MIO MMF MPO MPP MPT MTN NCD NCP "
        "OOC OOF OOP OPT PEF RAN RCD REV SFP SOV STN TAN TBA TDR TMB TRS UST WAR "
        "WLD XCN YCD ZOO BNST CAMM CASH CLCP CLLR CMBS COFO COFP CORP CPIB DINP "
        "DUAL EUCD EUCP EUTD FADN FXBN FXDN GOVT LOFC MLEG MUNI NONE POOL PROV PZFJ "
        "REPO RVLV RVRP SLQN TAXA TCAL TECP TERM TFRN TINT TIPS TLQN TMCP TPRN TRAN "
        "USTB VRDN VRDO YANK BRADY EQFWD EUFRN EUMTN EUNCP EUSOV FXFWD FXNDF FXNDS "
        "INDEX MCPIB ONITE Other PFAND SPCLA SPCLO SPCLT SUPRA SWING TBILL TBOND "
        "TNOTE BDBSKT BRIDGE DVPLDG EQBSKT EUCORP EXOTIC FXSPOT FXSWAP PRCORP "
        "STRUCT XLINKD AMENDED BUYSELL DEFLTED DIGITAL EUSTLQN EUSUPRA FORWARD "
        "FUTSWAP FWDSWAP MATURED REPLACD RETIRED RVLVTRM SECLOAN SPOTFWD VARSWAP "
        "WITHDRN COLLBSKT MRGNLOAN RTRNSWAP SECDERIV SWAPTION XMISSION CMDTYSWAP "
        "CRLTNSWAP DIMSUMSOV DVDNDSWAP LOANLEASE SECPLEDGE SPREADBET DIMSUMCORP "
        "FWDFRTAGMT PRTFLIOSWAP"
    ),
    169: "0 1 2 3 4",
    172: "0 1 2 3",
    197: "0 1",
    201: "0 1 2 3",
    203: "0 1",
    204: "0 1",
    209: "1 2 3 4",
    216: "1 2 3 4 5 6",
    221: (
        "IBR BKBM CDOR ESTR SOFR SORA SWAP TIIE AONIA AUBSW BUBOR CD91D CIBOR CORRA "
        "EIBOR EONIA HIBOR JIBAR LIBID LIBOR MIBOR NIBOR OTHER SARON SONIA TIBOR "
        "TLREF TONAR WIBOR EUREPO FEDEFF KLIBOR NZONIA PHIREF PRIBOR REIBOR SAIBOR "
        "STIBOR TELBOR THBFIX AONIA-R DIRR-TN EURIBOR Euribor FEDOPEN GCFREPO "
        "ISDAFIX MOSPRIM MuniAAA Treasury EONIASWAP EUROSWISS EURODOLLAR FutureSWAP "
        "Pfandbriefe FixingRepoRate"
    ),
    233: (
        "ABS AMT CPP CPR CPY HEP LOT MAT MHP MPR PPC PPL PPM PPT PSA SMM WAC WAL "
        "WAM YTM GEOG PMAX POOL PROD TEXT WALA ISSUE PRICE REFPX WHOLE YIELD ADDTRM "
        "AVFICO AVSIZE BGNCON COUPON ISSUER LOTVAR MAXBAL MINQTY PAYOFF PIECES "
        "RATING REFINT SECTOR STRUCT TRDVAR HAIRCUT INSURED MAXSUBS MINDNOM MININCR "
        "ORIGAMT PAYFREQ PRIMARY PROTECT PURPOSE REFPRIN SECTYPE TRANCHE AVAILQTY "
        "BANKQUAL CURRENCY DISCOUNT LEAVEQTY LOOKBACK MATURITY ORDRINCR PXSOURCE "
        "REFTRADE ROLLTYPE SUBSFREQ SUBSLEFT AUTOREINV INCURRCVY ISSUESIZE "
        "MAXORDQTY POOLEFFDT PRICEFREQ REFPOLICY SECRDLIST CUSTOMDATE INTERNALPX "
        "NOREFOBLIG REDEMPTION RESTRICTED INTERNALQTY LOCLJRSDCTN MODEQTYDLVY "
        "RELVJRSDCTN UNKREFOBLIG BROKERCREDIT POOLINITFCTR SUBSTITUTION "
        "TRADERCREDIT ALLGUARANTEES COMPSECFLLBCK MULTEXCHFLLBCK SALESCREDITOVR"
    ),
    235: (
        "PUT BOOK CALL MARK TRUE CLOSE GROSS WORST ANNUAL CHANGE SIMPLE TENDER "
        "ATISSUE AVGLIFE CURRENT LONGEST OPENAVG AFTERTAX COMPOUND LASTYEAR "
        "MATURITY PROCEEDS SHORTEST TAXEQUIV GOVTEQUIV INFLATION LASTCLOSE "
        "LASTMONTH PREVCLOSE VALUE1/32 VALUE1_32 NEXTREFUND SEMIANNUAL AVGMATURITY "
        "LASTQUARTER LONGAVGLIFE SHORTAVGLIFE INVERSEFLOATER"
    ),
    263: "0 1 2",
    265: "0 1",
    269: (
        "0 A B C D E F G H J K L M N O P Q R S T U V W X Y Z a b c d e g h i t 1 2 "
        "3 4 5 6 7 8 9"
    ),
    274: "0 1 2 3",
    276: (
        "0 A B C D E F G H I J K L M N O P Q R S T U V W X Y Z a b c d e f g h i j "
        "k l m n o p q r s t u v w x y z 1 2 3 4 5 6 7 f"
    ),
    277: (
        "0 A B C D E F G H I J K L M N P Q R S T U V W X Y Z a b c d e f g h i j k "
        "l m n o p q r s t u v w x y z 1 2 3 4 5 6 AA AB AC AD AE AF AG AH AI AJ AK "
        "AL AM AN AO AP AQ AR AS AT AU AV AW AX AY AZ BA BB BC BD BE"
    ),
    279: "0 1 2 3 4 5",
    281: "0 A B C D 1 2 3 4 5 6 7 8 9",
    285: "0 1",
    286: "0 1 2 3 4 5",
    291: "1 2 3",
    292: "A B C D E F G H I J K L M N O P Q R S T U V W",
    297: "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23",
    298: "1 2 3 4 5 6 7 8",
    300: "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 99",
    301: "0 1 2 3",
    303: "1 2 3",
    321: "0 1 2 3 4 5 6 7 8 9",
    323: "1 2 3 4 5 6",
    326: "1 2 3 4 5 6 7 8 9 10 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27",
    327: "0 D E I M P X 1 2 3 4 5",
    334: "1 2 3",
    338: "1 2 3 4",
    339: "1 2 3",
    340: "0 1 2 3 4 5 6",
    347: "UTF-8 EUC-JP Shift_JIS ISO-2022-JP",
    373: "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99",
    374: "C N",
    378: "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 99",
    380: "0 1 2 3 4 5 6 7 8 9 10 18",
    385: "R S",
    388: "0 1 2 3 4 5 6 7",
    394: "1 2 3",
    399: "1 2 3",
    401: "1 2",
    409: "1 2 3 4",
    414: "1 2 3",
    416: "1 2",
    418: "A G J R",
    419: "A B C D Z 2 3 4 5 6 7 8 9",
    423: "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25",
    427: "0 1 2",
    429: "1 2 3 4 5 6",
    430: "1 2",
    431: "1 2 3 4 5 6 7",
    433: "1 2 3 4 5",
    434: "1 2",
    442: "1 2 3",
    447: "1 2 3 4 5 6 7 8 9 A B C D E F G H I J K L M N O P Q R S T U",
    452: (
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 24 25 26 27 28 29 "
        "30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 "
        "55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 "
        "80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95 96 97 98 99 100 101 102 "
        "103 104 105 106 107 109 110 111 112 113 114 115 116 117 118 119 120 121 "
        "122 123 124 125 126 127"
    ),
    460: "1 2 3 4 5 6 7 8 9 10 11 12 13",
    465: "1 2 3 4 5 6 7 8",
    468: "0 1 2",
    477: "1 2 3 4 5 6 7 8 9 10 11 12 999",
    480: "M N O Y",
    481: "1 2 3 N Y",
    484: "B C D E O P Q S",
    492: "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 999",
    495: (
        "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 "
        "28 29 999"
    ),
    497: "N Y",
    506: "A H N R",
    507: "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99",
    514: "0 1 2",
    517: "J T 2",
    519: "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
    522: "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22",
    528: "A G I M P R W",
    529: "1 2 3 4 5 6 7 8 9 A B C D E F G H I",
    530: "A B C 1 2 3 4 5 6 7 8 9",
    531: "0 A B C 1 2 3 4 5 6 7 8 9",
    532: "0 1 2 3 4 5 6 7 8 9 10 11 99",
    537: "0 1 2 3 4",
    544: "1 2 3",
    546: "1 2 3",
    549: "1 2 3 4 5 6 7 8 9",
    550: "0 1 2",
    559: "0 1 2 3 4 5",
    560: "0 1 2 3 4 5",
    563: "0 1 2",
    567: "1 99",
    569: "0 1 2 3 4",
    573: "0 1 2 3",
    574: (
        "1 2 3 4 5 6 7 8 9 10 11 60 61 62 63 64 65 A1 A2 A3 A4 A5 AQ M1 M2 M3 M4 M5 "
        "M6 MT S1 S2 S3 S4 S5"
    ),
    577: "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14",
    581: "1 2 3 4 6 7 8 9 10 11 12 13",
    582: "1 2 3 4 5",
    585: "1 2 3 4 5 6 7 8 9 10",
    589: "0 1 2",
    590: "0 1 2",
    591: "0 1",
    626: "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26",
    635: "1 2 3 4 5 9 B C E F H I L M",
    638: "0 1",
    658: "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 99",
    660: "1 2 3 4 5 6 99",
    665: "1 2 3 4 5",
    666: "0 1 2",
    668: "1 2",
    690: "1 2 4 5",
    692: "1 2 3 4 5 6 7 8 9 10 12 13 14 15 16 17 18 19 20 21 22 23 24 25",
    694: "1 2 3 4 5 6 7 8 9 10 11 12",
    703: (
        "AS DN EP EX PA TA TQ TX XM ALC ASF CAA CEA CFE DAS DLT DLV ETR EXP FIN GRS "
        "IAS IES ITD NET PIT RCV REQ SEA SOD SPL TOT TRF NDAS PNTN UNEX SECLN"
    ),
    706: "0 1 2",
    707: (
        "CPN DLV MTD NCF NPV ACPN BANK CASH CMTM CRES ENDV FMTM ICPN IMTM LNVL LSNV "
        "PREM PV01 SETL SMTM SNPV SSNV TVAR UMTM VADJ VMTD VMTM 5YREN COLAT IACPN "
        "ICMTM MGNLN SACPN PVFEES UPFRNT"
    ),
    709: "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    712: "1 2 3 4",
    716: "EOD ETH ITD RTH",
    718: "0 1 2 3 4",
    722: "0 1 2 3 4",
    723: "0 1 99",
    724: "0 1 2 3 4 5 6 7 8 9 10",
    725: "0 1",
    728: "0 1 2 3 4 99",
    729: "0 1 2",
    731: "1 2",
    744: "P R",
    747: "A M",
    749: "0 1 2 3 4 5 8 9 99",
    750: "0 1 2",
    751: "0 1 2 3 4 5 6 7 99",
    752: "1 2 3",
    770: (
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 "
        "29 30 31 32 33 34"
    ),
    773: "1 2 3",
    774: "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 99",
    775: "0 1 2",
    780: "0 1 2 3 4",
    787: "C S",
    788: "1 2 3 4",
    792: "0 1 2 99",
    794: "2 3 4 5 8 9 10 11 12 14 15 16 17 18 19",
    796: "1 2 3 99",
    798: "1 2 3 4 6 7 8",
    803: (
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 "
        "29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 "
        "54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 "
        "79 80 81 82 83 84 85 86 87"
    ),
    808: "1 2 3 4 5 6",
    814: "0 1 2 3",
    815: "0 1 2 3",
    819: "0 1 2 3 4",
    826: "0 1 2 3 4 5 6",
    827: "0 1 2",
    828: (
        "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 22 23 24 25 26 27 28 "
        "29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 "
        "54 55 56 57 58 59 60 61 62 63 64 65 66"
    ),
    835: "0 1",
    836: "0 1 2 3 4",
    837: "0 1 2",
    838: "1 2",
    840: "1 2 3 4",
    841: "0 1",
    842: "0 1 2 3",
    843: "0 1 2",
    844: "1 2",
    846: "1 2 3 4",
    847: "1 2 3",
    851: "0 1 2 3 4 5 6 7 8 9 10 11",
    853: "0 1 2 3 4 5",
    854: "0 1 2",
    856: "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18",
    857: "0 1",
    865: ("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 99"),
    871: (
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 "
        "29 30 31 32 33 34 35 36 37 38 39 40 41 99"
    ),
    875: "1 2 3 4 5 6 7 8 99",
    891: "0 1 2",
    895: "0 1 2 3 4 5 6 7 8 9 10",
    896: "0 1 2 3 4 5 6 7",
    903: "0 1 2 3 4",
    905: "0 1 2 3 4 5",
    906: "0 1 2 3 4 5 99",
    910: "0 1 2 3 4 5",
    919: "0 1 2 3 4",
    924: "1 2 3 4 5",
    926: "1 2 3 4 5 6 7 8 9",
    928: "1 2 3 4",
    935: "1 2 4 8",
    937: "1 2",
    939: "0 1 2 3 4 5 6 7 8 9 10 11",
    940: "1 2 3",
    944: "0 1 2",
    945: "0 1 2 3 4",
    946: "0 1 2 3 4 5 6 7 8 9 99",
    1128: "0 1 2 3 4 5 6 7 8 9 10",
    1409: "0 1 2 3 4 5 6 7 8 9 10",
}
